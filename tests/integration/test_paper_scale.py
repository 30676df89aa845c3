"""The paper's grid: every command composes, and passes a rehearsal from random weights.

What fails in it would fail in the tenth hour of the real run: formats, names, sizes, options, the
mask, the checkpoint and its decoding. The scores mean nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import prepare
import pytest
import torch
from stand_ins import PUBLISHED, write_stand_in

from parp_fairseq.checkpoints.fairseq_settings import describe_state
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.grid import command_lines as lines
from parp_fairseq.grid.setups import IMP, Grid, Run, read_grid

PAPER = read_grid(prepare.HERE / "grids" / "paper.yaml")
SHORT = (
    "common.cpu=true",
    "common.log_interval=1",
    "distributed_training.distributed_world_size=1",
    "optimization.max_update=3",
    "optimization.update_freq=[1]",
    "dataset.max_tokens=80000",
    "dataset.num_workers=0",
    "dataset.validate_after_updates=0",
    "dataset.validate_interval_updates=0",
    "checkpoint.save_interval_updates=0",
)
OFTEN = (("interval", 1), ("interval_unit", "update"))
LIBRI = {"1h/0/clean": 4, "1h/0/other": 4, "dev-other": 2, "test-clean": 2, "test-other": 2}
LIBRI.update({f"1h/{fold}/{kind}": 1 for fold in range(1, 6) for kind in ("clean", "other")})
LIBRI.update({"9h/clean": 1, "9h/other": 1, "dev-clean": 2})
PHONES = {"train": 8, "dev": 3, "test": 3}
# Spans of 64 channels are masked: 128 are too few.
SMALL = {
    "encoder_layers": 1,
    "encoder_embed_dim": 512,
    "encoder_ffn_embed_dim": 128,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(16,10,5)] + [(16,8,4)] * 3 + [(16,4,4)]",
    "conv_pos": 16,
    "conv_pos_groups": 2,
    "final_dim": 8,
    "latent_vars": 4,
}


def representatives() -> list[Run]:
    """Each method in a setup of the base model, and PARP with each config.

    Joint setups and runs that take another's mask differ only in their data and mask file.
    """
    found: dict[tuple[str, str], Run] = {}
    for run in PAPER.runs.values():
        if "joint" in run.setup.name or run.source is not None:
            continue
        if run.method == "parp" and not run.options:
            found.setdefault(("config", run.setup.config), run)
        if run.setup.model == "wav2vec_small.pt":
            found.setdefault(("method", run.method), run)
    return list({run.name: run for run in found.values()}.values())


def rehearsed(run: Run, work: Path, smaller: Mapping[str, Any] | None) -> Iterator[float]:
    """Train, prune, save and decode what a run needs and itself; the share of zeros of each."""
    model = work / "models" / run.setup.model
    if not model.is_file():
        write_stand_in(model, smaller)
    language = run.setup.name.partition("-")[2]
    spoken = run.setup.config in ("parp_h2l", "parp_csr")
    data = f"data/languages/{language}" if spoken else f"data/libri/{Path(run.setup.data).name}"
    speech = {"language": language, "utterances": PHONES} if spoken else {"utterances": LIBRI}
    if not (work / prepare.note(data)).is_file():
        prepare.make_data(data, {"speech": speech}, None)
    setup = replace(
        run.setup,
        data=data,
        model=str(model),
        test=(),
        gpus=0,
        overrides=(*run.setup.overrides, *SHORT),
    )
    options = dict(run.options)
    if run.method in ("parp", "parp_p", "gmp"):
        options.update(OFTEN)
    sparsity = 0.1 if run.method == IMP else run.sparsity
    short = replace(run, setup=setup, sparsity=sparsity, options=tuple(options.items()))
    for one in (short.needs, replace(short, checkpoints=())):
        if one is not None:
            programs = Path(sys.executable).parent
            script = f"set -euo pipefail; PATH={programs}:$PATH; {lines.script(one)}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=work, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
            yield json.loads((work / lines.scores(one)).read_text(encoding="utf-8"))[0]["zeros"]


def composed(run: Run) -> dict[str, Any]:
    """Its configuration as fairseq-hydra-train composes and checks it; of IMP the last training."""
    from fairseq.dataclass.initialize import hydra_init
    from fairseq.dataclass.utils import omegaconf_no_object_check
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    import parp_fairseq.tasks.parp  # noqa: F401  # registers task, criterion and optimizer
    from parp_fairseq.config import shipped
    from parp_fairseq.tasks import config as prune_config
    from parp_fairseq.tasks.launch import completed_config

    overrides = [one for one in lines.training(run) if "=" in one]
    if run.method == IMP:
        overrides += ["task.prune.method=mask", "task.prune.mask=found.safetensors"]
        overrides.append(f"task.prune.sparsity={run.sparsity:g}")
    hydra_init(run.setup.config)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(shipped.FOLDER)):
        cfg = compose(run.setup.config, overrides)
    # What Hydra itself fills in when it runs.
    cfg.task.folder = "."
    with omegaconf_no_object_check():
        plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    # As many GPUs as it asks for are not looked for here.
    cfg.distributed_training.distributed_world_size = 1
    completed_config(cfg)
    prune = OmegaConf.create(plain["task"]["prune"])
    prune_config.check(prune)
    prune_config.make_pruner(prune, plain["optimization"]["max_update"])
    return plain


def test_a_few_runs_represent_all_and_compose():
    few = representatives()
    everything = [
        run for run in PAPER.runs.values() if "joint" not in run.setup.name and run.source is None
    ]
    for of in map(attrgetter, ("method", "setup.config", "setup.model")):
        values = [set(map(of, runs)) for runs in (few, everything)]
        assert values[0] == values[1]
    assert len(few) < 16
    for run in few:
        composed(run)
    stages = next(run for run in PAPER.runs.values() if "stages" in dict(run.options))
    found = composed(stages)
    assert found["task"]["prune"]["stages"] == [0.8]
    assert found["task"]["prune"]["method"] == "parp_p"
    assert found["optimization"]["max_update"] == 20_000
    wrong = replace(stages, options=(("intervall", 5),))
    with pytest.raises(Exception, match="intervall"):
        composed(wrong)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("grid", [PAPER, read_grid(prepare.HERE / "grids" / "small.yaml")])
def test_every_run_composes(grid: Grid):
    for run in grid.runs.values():
        composed(run)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("run", representatives(), ids=lambda run: run.name)
def test_a_rehearsal_at_full_size(tmp_path_factory, monkeypatch, run):
    """Three updates of a run, from random weights of the published sizes; gigabytes and minutes."""
    check_rehearsal(tmp_path_factory.mktemp("rehearsal"), monkeypatch, run, None)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="phonemizer's voices need it")
@pytest.mark.parametrize("name", ["base-10h_omp_0.9_seed2337", "csr-es_parp_0.9_seed2337"])
def test_a_rehearsal_with_small_stand_ins(tmp_path, monkeypatch, name):
    check_rehearsal(tmp_path, monkeypatch, PAPER.runs[name], SMALL)


def check_rehearsal(work, monkeypatch, run, smaller):
    pytest.importorskip("phonemizer")
    monkeypatch.chdir(work)
    *before, zeros = rehearsed(run, work, smaller)
    assert before == ([0.0] if run.needs else [])
    asked = {"dense": 0.0, IMP: 0.1}.get(run.method, run.sparsity)
    assert zeros == pytest.approx(asked, abs=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_stand_in_has_the_published_form(tmp_path, name):
    write_stand_in(tmp_path / name, SMALL)
    state = torch.load(tmp_path / name, weights_only=False)
    assert (state["args"] is None) == (PUBLISHED[name].form == "cfg")
    assert describe_state(load_checkpoint(tmp_path / name)).normalize is PUBLISHED[name].normalize
