"""The Snakefile: from a small grid to rows of the tables, on real trainings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_corpora import write_mboshi

from parp_fairseq.checkpoints.mask_files import load_mask
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.pruning import iou, magnitude_mask
from parp_fairseq.report.tidy import MaskPair, Score, read_table
from parp_fairseq.runs.names import INITIAL_MASK_FILE, LAST, MASK_FILE

HERE = Path(__file__).parents[2] / "examples" / "wav2vec"
pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake needs Python 3.11")

GRID = yaml.safe_load("""
setups:
  quick:
    config: parp_demo
    data: data/quick/10min
    speech:
      seed: 3
      utterances: {1h/0/clean: 8, dev-other: 2, dev-clean: 4, test-clean: 4}
    model: tiny
    valid: dev-clean
    test: [test-clean]
    overrides: [optimization.max_update=10]
targets:
  dense_only: {setups: [quick], runs: [{method: dense}]}
  seen:
    setups: [quick]
    runs:
      - {method: parp, sparsity: [0.9], options: {interval: 8}, checkpoints: [5, 1]}
  alike:
    setups: [quick]
    masks:
      - {method: omp, sparsity: [0.9]}
      - {method: mpi, sparsity: [0.9]}
      - {method: rp, sparsity: [0.9]}
  moved: {setups: [quick], runs: [{method: mask, sparsity: [0.9], from: all}]}
""")
GRID["targets"]["alike"]["masks"] += GRID["targets"]["seen"]["runs"]
LANGUAGES = yaml.safe_load("""
models:
  two.pt: {languages: [nl, fr], speakers: 7, rounds: [2, 2]}
setups:
  joint:
    config: parp_demo
    speech: {languages: [nl, fr], utterances: {train: 12, dev: 4, test: 4}}
    data: data/joint
    model: two.pt
    valid: dev
    test: [test-nl, test-fr]
    overrides: [task.labels=phn, criterion.post_process=none, optimization.max_update=4]
targets:
  both: {setups: [joint], runs: [{method: parp, sparsity: [0.9]}]}
""")


def with_quick(**changes):
    """The grid with the first target, and other keys in its setup; None removes one."""
    quick = {**GRID["setups"]["quick"], **changes}
    quick = {key: value for key, value in quick.items() if value is not None}
    return {**GRID, "setups": {"quick": quick}}


def snakemake(
    home: Path, *arguments: str, config: tuple[str, ...] = (), grid: object = None
) -> subprocess.CompletedProcess[str]:
    """Run the Snakefile on a grid, with all its folders in `home`."""
    if grid is not None:
        (home / "quick.yaml").write_text(yaml.safe_dump(grid, sort_keys=False), encoding="utf-8")
    program = Path(sys.executable).with_name("snakemake")
    folders = (f"grid={home}/quick.yaml", f"work={home}/work", f"results={home}/results")
    return subprocess.run(
        [program, "-s", HERE / "Snakefile", "-c", "1", *arguments, "--config", *folders, *config],
        cwd=home,
        capture_output=True,
        text=True,
    )


def test_from_a_grid_to_its_tables(tmp_path):
    home = tmp_path / "it's a home"
    home.mkdir()
    run = snakemake(home, "all", grid=GRID)
    assert run.returncode == 0, run.stderr[-3000:]
    rows = read_table(home / "results/scores.csv", Score)
    assert [(row.split, row.checkpoint) for row in rows if row.method == "dense"] == [
        ("dev-clean", "last"),
        ("test-clean", "last"),
    ]
    # Prunings after updates 8 and 10; before 8 the initial mask's zeros have moved.
    seen = [row for row in rows if row.method == "parp"]
    assert [row.checkpoint for row in seen[::2]] == ["last", "best", "kept"]
    assert seen[0].zeros == pytest.approx(0.9, abs=1e-4) and seen[4].weights == "theta"
    assert seen[4].zeros == pytest.approx(0.9 if seen[4].update in (8, 10) else 0.0, abs=1e-3)
    assert not list(home.glob("work/runs/*/checkpoints/checkpoint_[0-9]*_*.pt"))
    assert str(tmp_path) not in (home / "results/scores.csv").read_text(encoding="utf-8")

    # Masks against those that the runs themselves wrote.
    pairs = {
        (pair.one.split("_")[1], pair.other.split("_")[1]): pair.iou
        for pair in read_table(home / "results/masks.csv", MaskPair)
    }
    work = home / "work"
    checkpoints = work / "runs/quick_parp_0.9_interval8_seed1_trail/checkpoints"
    first, last = (load_mask(checkpoints / name)[0] for name in (INITIAL_MASK_FILE, MASK_FILE))
    assert pairs["mpi", "parp"] == pytest.approx(iou(first, last), abs=1e-6)
    # A few updates under a small learning rate move few entries, or none.
    assert 0.9 < pairs["mpi", "parp"] <= 1
    omp = omp_mask(work, first)
    assert pairs["omp", "mpi"] == pytest.approx(iou(omp, first), abs=1e-6)
    assert pairs["mpi", "rp"] == pytest.approx(0.1 / 1.9, abs=0.01)
    moved = load_mask(work / "runs/quick_mask_0.9_from-quick_seed1/checkpoints" / MASK_FILE)[0]
    assert iou(moved, omp) == 1

    # What is in the tables is not made again, though all that it was made from is gone.
    work.rename(home / "elsewhere")
    again = snakemake(home, "-n", "all")
    assert again.returncode == 0, again.stderr
    assert not re.search("rule (run|mask|data)", again.stdout + again.stderr)
    # With other settings it is refused by name.
    longer = with_quick(overrides=["optimization.max_update=11"])
    other = snakemake(home, "-n", "all", grid=longer)
    said = "quick_dense_seed1 was made with optimization.max_update=10 and the grid now has"
    assert other.returncode != 0 and said in other.stdout + other.stderr


def omp_mask(work, like):
    dense = load_checkpoint(work / "runs/quick_dense_seed1/checkpoints" / LAST)["model"]
    return magnitude_mask({name: dense[f"w2v_encoder.w2v_model.{name}"] for name in like}, 0.9)


def test_languages_from_a_model_of_them_to_their_errors(tmp_path):
    pytest.importorskip("phonemizer")
    run = snakemake(tmp_path, "both", grid=LANGUAGES)
    assert run.returncode == 0, run.stderr[-3000:]
    rows = read_table(tmp_path / "results/scores.csv", Score)
    splits = ("dev", "test-nl", "test-fr")
    assert [(row.split, row.metric) for row in rows] == [(split, "PER") for split in splits]
    assert rows[1].zeros == pytest.approx(0.9, abs=1e-4)
    assert (tmp_path / "work/two.pt").stat().st_size < 6_000_000


def test_what_is_yours_is_asked_for_before_anything_starts(tmp_path):
    recorded = with_quick(speech=None, corpus={"name": "mboshi", "valid_share": 0.3})
    # To see what would be done, none of it need be there.
    assert snakemake(tmp_path, "-n", "dense_only", grid=recorded).returncode == 0
    run = snakemake(tmp_path, "dense_only")
    said = "mboshi is recorded speech (--config corpora=DIR): git clone"
    assert run.returncode != 0 and said in run.stdout + run.stderr
    write_mboshi(tmp_path / "clones" / "mboshi")
    clones = (f"corpora={tmp_path / 'clones'}",)
    run = snakemake(tmp_path, "data/quick/10min.json", config=clones, grid=recorded)
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / "work/data/quick/10min/train.tsv").is_file()
    # Data that was made from other settings is not used.
    other = with_quick(speech=None, corpus={"name": "mboshi", "valid_share": 0.4})
    run = snakemake(tmp_path, "-n", "dense_only", grid=other)
    assert run.returncode != 0
    assert "10min was made from other settings than the grid has now" in run.stdout + run.stderr


def test_every_job_on_slurm_has_its_time_and_memory():
    """Of its own: `--default-resources` on the command line replaces a profile's defaults."""
    text = (HERE / "Snakefile").read_text(encoding="utf-8")
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    local = set(re.search(r"^localrules:\n((?:    \w+,\n)+)", text, re.MULTILINE)[1].split())
    profile = yaml.safe_load((HERE / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    asked = dict(one.split("=") for one in profile["set-resources"])
    sent = rules - {name.rstrip(",") for name in local}
    assert sent == {"data", "model", "run", "mask"}
    for name in sent:
        assert int(asked[f"{name}:runtime"]) >= 60 and int(asked[f"{name}:mem_mb"]) >= 8000
    assert "default-resources" not in profile


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_shortest_target_that_ships_killed_on_the_way(tmp_path):
    """sanity_check without the scores that are committed: six fine-tunings of a minute or two."""
    grid = yaml.safe_load((HERE / "grids/small.yaml").read_text(encoding="utf-8"))
    assert snakemake(tmp_path, "-n", "sanity_check", grid=grid).returncode == 0
    command = [Path(sys.executable).with_name("snakemake"), "-s", HERE / "Snakefile", "-c", "2"]
    folders = [f"{name}={tmp_path}/{name}" for name in ("work", "results")]
    command += ["sanity_check", "--config", f"grid={tmp_path}/quick.yaml", *folders]
    first = subprocess.Popen(command, start_new_session=True, cwd=tmp_path)
    runs = tmp_path / "work/runs"
    while not (begun := list(runs.glob(f"*/checkpoints/{LAST}"))):
        assert first.poll() is None
        time.sleep(1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    # As Snakemake asks for after a kill.
    assert snakemake(tmp_path, "--unlock").returncode == 0
    again = snakemake(tmp_path, "-c", "2", "sanity_check")
    assert again.returncode == 0, again.stderr[-3000:]
    log = begun[0].parents[1] / "hydra_train.log"
    assert "Loaded checkpoint" in log.read_text(encoding="utf-8")
    rows = read_table(tmp_path / "results/scores.csv", Score)
    rates = {row.run: row.rate for row in rows if row.split == "test-clean"}
    assert len(rates) == 6
    for seed in (1, 2, 3):
        assert rates[f"english_dense_seed{seed}"] < rates[f"english_rp_0.9_seed{seed}"] - 20
