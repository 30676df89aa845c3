"""The demo: synthetic speech, manifests, a small grid of fine-tunings, their scores, a report."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from parp_fairseq.demo.speech import UTTERANCES, synthesise_corpus
from parp_fairseq.errors import UserError
from parp_fairseq.files import LOCK_FILE, locked, write_json
from parp_fairseq.grid import command_lines as lines
from parp_fairseq.grid.collect import check_command
from parp_fairseq.grid.setups import Run, Setup, read_grid
from parp_fairseq.machine import cores
from parp_fairseq.report import make_report
from parp_fairseq.report.run_table import Table
from parp_fairseq.report.style import check_drawing
from parp_fairseq.runs.names import CHECKPOINTS, LOG_FILE, RUN_FILE
from parp_fairseq.runs.progress import updates_done
from parp_fairseq.runs.side_by_side import ONE_THREAD, Step, run_steps

GRID_FILE = Path(__file__).with_name("demo.yaml")
MARKER = "parp-demo.json"
SPEECH, DATA, LOGS, REPORT = "speech", "data", "logs", "report"

# What starting fairseq and decoding a set cost, in updates: only for the time left.
_START_UPDATES = 60
_DECODE_UPDATES = 90
# A training that was killed with its demo may need a moment to be gone.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Demo:
    """What a demo does."""

    # fine-tunings in one setup; one that another needs for its mask comes before it
    runs: tuple[Run, ...]
    # part of the synthetic corpus → number of utterances
    utterances: Mapping[str, int] = field(default_factory=lambda: dict(UTTERANCES))

    @property
    def setup(self) -> Setup:
        """The setup of all runs."""
        return self.runs[0].setup

    @property
    def test(self) -> str:
        """The set that no setting was chosen on."""
        return self.setup.test[0]

    @property
    def cross_checked(self) -> Run:
        """The run that fairseq's own infer decodes too, on the test set."""
        return next((run for run in self.runs if run.method == "parp"), self.runs[0])

    def infer(self, folder: str) -> list[str]:
        """fairseq's infer of that run; `folder` is the demo's, in full: Hydra changes folders."""
        results = f"{folder}/{lines.folder(self.cross_checked)}/infer"
        return [
            *(sys.executable, "-m", "parp_fairseq.evaluation.infer", "task=audio_finetuning"),
            f"task.data={folder}/{self.setup.data}",
            "task.labels=ltr",
            "decoding.type=viterbi",
            f"decoding.results_path={results}",
            f"common_eval.path={folder}/{lines.checkpoint(self.cross_checked)}",
            f"common_eval.results_path={results}",
            "common_eval.post_process=letter",
            "common_eval.quiet=true",
            "common.user_dir=null",
            "common.cpu=true",
            f"dataset.gen_subset={self.test}",
            # Its default is 8, which leaves an uneven last batch out (fairseq-fixed).
            "dataset.required_batch_size_multiple=1",
            f"hydra.run.dir={results}",
        ]


def make_demo(*, fast: bool = False, seeds: int = 1) -> Demo:
    """The demo of `parp demo`: every method with the seeds 1 to `seeds`."""
    target = read_grid(GRID_FILE).targets["fast" if fast else "demo"]
    # There is one setup, so names do not say which.
    setup = replace(target.runs[0].setup, name="")
    return Demo(
        tuple(
            replace(run, setup=setup, seed=seed)
            for seed in range(1, seeds + 1)
            for run in target.runs
        )
    )


def run_demo(out: Path, demo: Demo, *, jobs: int | None = None) -> Table:
    """Do what is left of a demo, and report on it.

    A run with scores is finished; a fine-tuning that was stopped resumes at its last checkpoint.

    Args:
        out: a new folder, or one that a demo made.
        demo: what to do.
        jobs: programs at a time, each on one core; by default as many as there are cores.

    Raises:
        UserError: `out` holds something else or a demo of other settings, another demo runs there,
            matplotlib is missing, or a part failed (the line names its log).
    """
    check_drawing()
    jobs = jobs or cores()
    take_folder(out)
    with locked(out, "another demo", _PATIENCE_SECONDS) as lock:
        # What a demo that was killed had half written.
        for partial in out.glob(f".{SPEECH}.*"):
            shutil.rmtree(partial, ignore_errors=True)
        _prepare_data(out, demo, jobs)
        run_steps(_steps(out, demo), out, jobs, lock, ONE_THREAD)
        return make_report(
            [out / lines.folder(run) for run in demo.runs],
            out / REPORT,
            notes=[_cross_check(out, demo)],
            force=True,
        )


def take_folder(out: Path) -> None:
    """Make the demo's folder, or take one that a demo made.

    Raises:
        UserError: it holds something else, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder as --out")
    out.mkdir(parents=True, exist_ok=True)
    if (out / MARKER).is_file():
        return
    # A demo that was killed as it began leaves a partial marker.
    names = set(os.listdir(out)) - {LOCK_FILE}
    if not all(name.startswith(f".{Path(MARKER).stem}.") for name in names):
        raise UserError(
            f"{out} holds something that the demo did not make; give a new folder as --out"
        )
    write_json(out / MARKER, {"what": "made by parp demo"})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _prepare_data(out: Path, demo: Demo, jobs: int) -> None:
    from parp_fairseq.manifests.corpora.librilight import build_librilight

    if not (out / SPEECH).is_dir():
        _say(f"speaking {sum(demo.utterances.values())} sentences")
    # What is there is compared with these settings.
    synthesise_corpus(out / SPEECH, utterances=demo.utterances, jobs=jobs)
    parts = [out / SPEECH / name for name in ("librispeech_finetuning", "LibriSpeech")]
    manifest = out / demo.setup.data / "train.tsv"
    # Its first line is the audio's folder, in full: a demo that was moved builds it again.
    if manifest.is_file() and manifest.read_text(encoding="utf-8").startswith(f"{out.resolve()}/"):
        return
    _say("building manifests")
    build_librilight(*parts, out / DATA, sets=[Path(demo.setup.data).name], force=True)


def _steps(out: Path, demo: Demo) -> list[Step]:
    """Trainings first: a decoding that waits keeps nothing else waiting.

    A run is announced with its scores.
    """
    trainings: dict[str, Step] = {}
    decodings: list[Step] = []
    for run in demo.runs:
        folder, log = out / lines.folder(run), out / LOGS / f"{run.name}.log"
        finished = (out / lines.scores(run)).is_file()
        if finished:
            record = json.loads((folder / CHECKPOINTS / RUN_FILE).read_text(encoding="utf-8"))
            check_command(run, str(folder), record["command"])
        trainings[run.name] = Step(
            f"training {run.name}",
            lines.training(run),
            log,
            out / lines.checkpoint(run),
            demo.setup.updates + _START_UPDATES,
            lambda log=folder / LOG_FILE: _course(log),
            after=[trainings[run.needs.name]] if run.needs else [],
            done=finished,
        )
        (out / lines.scores(run)).parent.mkdir(parents=True, exist_ok=True)
        decodings.append(
            Step(
                run.name,
                lines.scoring(run),
                log,
                out / lines.scores(run),
                _DECODE_UPDATES * len(demo.setup.splits),
                after=[trainings[run.name]],
                then=lambda run=run: _rates(out, run),
                done=finished,
                announced=True,
            )
        )
    checked = demo.cross_checked
    infer = Step(
        f"fairseq's infer, {checked.name}",
        demo.infer(str(out.resolve())),
        out / LOGS / f"{checked.name}.log",
        out / lines.folder(checked) / "infer" / "wer",
        _DECODE_UPDATES,
        after=[trainings[checked.name]],
        done=_infer_rate(out, demo) is not None,
    )
    return [*trainings.values(), *decodings, infer]


def _course(log: Path) -> float:
    updates = updates_done(log)
    return updates + _START_UPDATES if updates else 0.0


def _rates(out: Path, run: Run) -> str:
    rows = json.loads((out / lines.scores(run)).read_text(encoding="utf-8"))
    return ", ".join(f"{row['metric']} {row['rate']:.1f} on {row['split']}" for row in rows)


def _infer_rate(out: Path, demo: Demo) -> float | None:
    """Percent errors as fairseq's infer wrote them; None where it did not come to its end."""
    file = out / lines.folder(demo.cross_checked) / "infer" / "wer"
    try:
        return float(file.read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _cross_check(out: Path, demo: Demo) -> str:
    run, theirs = demo.cross_checked, _infer_rate(out, demo)
    rows = json.loads((out / lines.scores(run)).read_text(encoding="utf-8"))
    ours = next(row["rate"] for row in rows if row["split"] == demo.test)
    same = "the same" if theirs == ours else f"{ours} here"
    return f"fairseq's own infer on {run.name}, {demo.test}: {theirs}, {same}"
