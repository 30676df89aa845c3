"""The demo from beginning to end, as small as it can be, and killed half-way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from running import NO_CHANCE

from parp_fairseq.demo.demo import Demo, run_demo
from parp_fairseq.errors import UserError
from parp_fairseq.files import locked
from parp_fairseq.grid.setups import Run, Setup
from parp_fairseq.report import make_report

pytest.importorskip("matplotlib")

UTTERANCES = {"1h/0/clean": 8, "1h/0/other": 8, "dev-other": 4, "test-other": 4}
UPDATES = 8


def small_demo(**changes):
    """Dense and PARP with a few updates and without chance, so that two demos are equal."""
    overrides = (
        "dataset.max_tokens=160000",
        "common.log_interval=1",
        "task.prune.interval=3",
        "optimization.lr=[0.01]",
        f"optimization.max_update={UPDATES}",
        "dataset.validate_interval_updates=2",
        "checkpoint.save_interval_updates=2",
        *NO_CHANCE,
    )
    setup = Setup("", "parp_demo", "data/10min", "tiny", "dev-other", ("test-other",), overrides)
    setup = replace(setup, **changes)
    return Demo((Run(setup, "dense", 0.0, 1), Run(setup, "parp", 0.9, 1)), UTTERANCES)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A demo that nobody stopped."""
    out = tmp_path_factory.mktemp("demo") / "whole"
    return out, run_demo(out, small_demo())


def rates(report):
    """The table without its minutes."""
    return [cells[:-1] for cells in report.cells()]


def written(folder):
    return {
        p: p.stat().st_mtime_ns
        for p in folder.rglob("*")
        if p.is_file() and "report" not in p.parts
    }


def test_it_ends_with_a_table_and_figures(finished):
    out, report = finished
    rows = [(r.method, r.sparsity, r.fine_tunings) for r in report.rows]
    assert rows == [("dense", 0.0, 1), ("parp", 0.9, 1)]
    assert report.header[2:] == ("WER valid", "WER test", "fine-tunings", "minutes")
    assert "decoded: checkpoint_last.pt" in report.notes
    files = {path.name for path in (out / "report").iterdir()}
    assert {"errors.png", "layers.png", "table.txt", "table.csv"} <= files


def test_fairseqs_own_infer_agrees(finished):
    out, report = finished
    first = (out / "runs/parp_0.9_seed1/infer/wer").read_text().split()
    score = json.loads((out / "runs/parp_0.9_seed1/eval/scores.json").read_text())[1]
    assert float(first[1]) == score["rate"]
    note = f"fairseq's own infer on parp_0.9_seed1, test-other: {score['rate']}, the same"
    assert note in report.notes


def test_what_is_complete_is_not_done_again_nor_taken_for_other_settings(finished):
    out, report = finished
    before = written(out)
    assert run_demo(out, small_demo()).render() == report.render()
    with pytest.raises(UserError, match=r"seed1 was made with .*max_update=8.* now has .*=9"):
        run_demo(out, small_demo(overrides=("optimization.max_update=9",)))
    assert written(out) == before


def demo_process(out, log):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); "
        "from test_demo import run_demo, small_demo; run_demo(Path(sys.argv[1]), small_demo())"
    )
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(out), here], stdout=log, stderr=subprocess.STDOUT
    )


def last_update(out):
    """The last update that each run's log tells."""
    found = {}
    for log in out.glob("runs/*/hydra_train.log"):
        counts = re.findall(r'num_updates": "(\d+)', log.read_text(errors="replace"))
        found[log.parent.name] = int(counts[-1]) if counts else 0
    return found


def wait_for(condition, process, log):
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_stopped_killed_and_started_again_it_ends_with_the_same_table(finished, tmp_path):
    whole, report = finished
    out, output = tmp_path / "killed", tmp_path / "output"
    with output.open("wb") as log:
        process = demo_process(out, log)
        wait_for(lambda: list(out.glob("logs/*.log")), process, output)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        # No child stays behind. One that was just being started needs a moment to see that its
        # parent is gone; the next demo waits as long.
        with locked(out, "another demo", 5.0):
            pass
        process = demo_process(out, log)
        # Half-way through the trainings, with a checkpoint behind it.
        half = UPDATES // 2 + 1
        wait_for(lambda: max(last_update(out).values(), default=0) >= half, process, output)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process = demo_process(out, log)
        assert process.wait(300) == 0, output.read_text()
        assert re.search(
            r"_seed1 is done \(2 of 2\): WER [\d.]+ on dev-other, WER", output.read_text()
        )
    again = make_report([out / "runs"])
    assert rates(again) == rates(report)
    assert again.cells()[0][2] != "–"  # noqa: RUF001
    for name in ("dense_seed1", "parp_0.9_seed1"):
        one, two = (folder / "runs" / name / "eval" / "scores.json" for folder in (whole, out))
        assert one.read_text() == two.read_text()


def test_a_run_that_fails_is_named_and_the_others_end(tmp_path):
    demo = small_demo(overrides=("task.prune.interval=0",))
    # Both fail; which one is found first depends on the machine.
    with pytest.raises(
        UserError, match=r"(dense_seed1|parp_0\.9_seed1) failed: .*interval.*logs/\1\.log"
    ):
        run_demo(tmp_path / "demo", demo)


def parp(*arguments, folder):
    command = [str(Path(sys.executable).with_name("parp")), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_report_from_the_command_line(finished, tmp_path):
    out, _ = finished
    done = parp("report", str(out / "runs"), "--out", "mine", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("method ")
    table = (tmp_path / "mine" / "table.csv").read_text()
    assert table.startswith("method,title,sparsity,seeds,wer_dev-other")
