"""The demo: speech, manifests, fine-tunings, decoding, report, each done once."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parp_fairseq._version import __version__
from parp_fairseq.checkpoints.shipped import TINY_MODEL
from parp_fairseq.config import shipped as configs
from parp_fairseq.demo.plan import CONFIG, DATA, Plan, PlannedRun
from parp_fairseq.demo.sentences import WORDS_FILE
from parp_fairseq.demo.work import LOGS, REPORT, SPEECH, WorkFolder
from parp_fairseq.errors import INTERRUPTED, UserError
from parp_fairseq.jobs import children
from parp_fairseq.jobs.progress import Clock, Progress, updates_done
from parp_fairseq.machine import cores
from parp_fairseq.report import Report, make_report
from parp_fairseq.report.drawing import check_drawing
from parp_fairseq.runs.names import LOG_FILE

# What starting fairseq and decoding a set cost, in updates: for the time left, nothing else.
_START_UPDATES = 60
_DECODE_UPDATES = 90
_SECONDS_BETWEEN_LOOKS = 0.25


# The model is small: runs side by side use the cores better than one run on all of them, and sums
# come out alike whatever the number of cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass
class _Step:
    """A program to run, once those before it are through."""

    title: str
    run: PlannedRun
    arguments: list[str]
    work: float
    trains: bool
    after: list[_Step] = field(default_factory=list)
    done: bool = False
    child: children.Child | None = None


def run_demo(out: Path, plan: Plan, *, clean: bool = False, jobs: int | None = None) -> Report:
    """Do what is left to do of a plan, and report on it.

    What an earlier demo in `out` completed with the same settings is not done again, and a
    fine-tuning that was stopped goes on from its last checkpoint.

    Args:
        out: a new folder, or one that a demo made.
        plan: what to do.
        clean: remove first what a demo made there.
        jobs: programs at a time, each on one core; by default as many as there are cores.

    Raises:
        UserError: `out` holds something else or another demo is at work there, matplotlib is
            missing, or a part failed (the line names its log).
    """
    check_drawing()
    jobs = cores() if jobs is None else jobs
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; it counts from 1")
    work = WorkFolder(out)
    with work.locked() as lock, _ended_properly():
        if clean:
            work.clean()
        work.sweep()
        speech = _prepare_data(work, plan, jobs)
        _run_all(work, plan, speech, jobs, lock)
        return make_report(
            [work.path / run.folder for run in plan.runs],
            work.path / REPORT,
            title="PARP on a tiny model: the demo",
            introduction=_introduction(plan, min(jobs, len(plan.runs))),
            notes=[_cross_check(work, plan)],
            before_commands=" ".join(f"{k}={v}" for k, v in ONE_THREAD.items()),
            force=True,
        )


@contextmanager
def _ended_properly() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: through its `finally` clauses, with a word."""

    def leave(*_: Any) -> None:
        raise KeyboardInterrupt

    in_charge = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, leave) if in_charge else None
    try:
        yield
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from here")
        raise SystemExit(INTERRUPTED) from None
    finally:
        if in_charge:
            signal.signal(signal.SIGTERM, before)


def _introduction(plan: Plan, side_by_side: int) -> str:
    train = sum(count for part, count in plan.utterances.items() if part[:2] in ("1h", "9h"))
    return (
        "A wav2vec 2.0 model of 1.3 million parameters, pre-trained on synthetic speech, is "
        f"fine-tuned on {train} sentences of other synthetic voices, densely and with pruning, "
        f"always with the same {plan.updates:,} updates and settings. What is scored is the pruned "
        f"model after the last update, on {plan.utterances[plan.valid]} sentences for validation, "
        f"on which settings were chosen, and {plan.utterances[plan.test]} test sentences, on which "
        f"nothing was. Up to {side_by_side} runs shared the machine, each on one core. All this "
        "shows that the parts work together and says nothing about real speech."
    )


# --- data -----------------------------------------------------------------------------------


def _prepare_data(work: WorkFolder, plan: Plan, jobs: int) -> Any:
    """Speech and manifests; returns the settings that the speech was made with."""
    speech = {
        "seed": plan.speech_seed,
        "per_speaker": plan.per_speaker,
        "utterances": dict(plan.utterances),
        "words": _digest(WORDS_FILE),
        "version": __version__,
    }
    if not work.is_done(SPEECH, speech):
        from parp_fairseq.demo.speech import synthesise_corpus

        total = sum(plan.utterances.values())
        _say(f"speaking {total} sentences")
        work.begin(SPEECH)
        synthesise_corpus(
            work.path / SPEECH,
            seed=plan.speech_seed,
            utterances=plan.utterances,
            per_speaker=plan.per_speaker,
            jobs=jobs,
        )
        work.set_done(SPEECH, speech)
    # Manifests name the folder of the audio in full.
    data = {"speech": speech, "folder": str(work.path.resolve()), "subset": plan.subset}
    if not work.is_done(DATA, data):
        from parp_fairseq.manifests.corpora.librilight import build_librilight

        _say("building manifests")
        work.begin(DATA)
        build_librilight(
            work.path / SPEECH / "librispeech_finetuning",
            work.path / SPEECH / "LibriSpeech",
            work.path / DATA,
            sets=[plan.subset],
            force=True,
        )
        work.set_done(DATA, data)
    return speech


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# --- fine-tunings and decodings -------------------------------------------------------------


def _run_all(work: WorkFolder, plan: Plan, speech: Any, jobs: int, lock: int) -> None:
    trainer, parp = children.program("fairseq-hydra-train"), children.program("parp")
    steps: list[_Step] = []
    trainings: dict[str, _Step] = {}
    settings: dict[str, Any] = {}
    for run in plan.runs:
        arguments = plan.training(run)
        source = run.mask_from
        settings[run.name] = {
            "arguments": arguments,
            "config": _digest(configs.path_of(CONFIG)),
            "model": _digest(TINY_MODEL),
            "speech": speech,
            "version": __version__,
            "mask_from": settings[source] if source else None,
        }
        work.open_run(run.folder, settings[run.name])
        training = _Step(
            run.name,
            run,
            [trainer, *arguments],
            plan.updates + _START_UPDATES,
            True,
            [trainings[source]] if source else [],
            work.is_trained(run.folder),
        )
        trainings[run.name] = training
        steps.append(training)
        (work.path / run.folder / "eval").mkdir(exist_ok=True)
        for split in plan.splits:
            arguments = [parp, *plan.decoding(run, split)]
            done = (work.path / run.folder / "eval" / f"{split}.json").is_file()
            title = f"decoding {run.name}"
            steps.append(_Step(title, run, arguments, _DECODE_UPDATES, False, [training], done))
    checked = plan.cross_checked
    steps.append(
        _Step(
            f"fairseq's infer, {checked.name}",
            checked,
            [
                sys.executable,
                "-m",
                "parp_fairseq.evaluation.infer",
                *plan.infer(str(work.path.resolve())),
            ],
            _DECODE_UPDATES,
            False,
            [trainings[checked.name]],
            _infer_rate(work, plan) is not None,
        )
    )
    if all(step.done for step in steps):
        return
    # Trainings first: a decoding that waits keeps nothing else waiting.
    steps.sort(key=lambda step: not step.trains)
    clock = Clock(sum(step.work for step in steps), sum(_work_done(work, s, plan) for s in steps))
    with Progress(clock) as progress:
        try:
            _work_through(work, plan, steps, jobs, lock, progress)
        finally:
            children.stop([step.child for step in steps if step.child is not None])


def _work_through(
    work: WorkFolder,
    plan: Plan,
    steps: Sequence[_Step],
    jobs: int,
    lock: int,
    progress: Progress,
) -> None:
    trainings = [step for step in steps if step.trains]
    while not all(step.done for step in steps):
        for step in steps:
            if step.child is not None and not step.done and step.child.exit_code is not None:
                _finish(work, step)
                if step.trains:
                    through = sum(other.done for other in trainings)
                    progress.say(f"{step.title} is trained ({through} of {len(trainings)})")
        running = [step for step in steps if step.child is not None and not step.done]
        ready = [
            step
            for step in steps
            if step.child is None and not step.done and all(other.done for other in step.after)
        ]
        for step in ready[: jobs - len(running)]:
            log = work.path / LOGS / f"{step.run.name}.log"
            step.child = children.start(step.arguments, work.path, log, lock, ONE_THREAD)
            running.append(step)
        progress.show(
            sum(_work_done(work, step, plan) for step in steps),
            {step.title: (_work_done(work, step, plan), step.work) for step in running},
        )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _finish(work: WorkFolder, step: _Step) -> None:
    if step.child.exit_code != 0:
        raise UserError(
            f"{step.title} failed: {step.child.failure()} (its whole output: {step.child.log})"
        )
    if step.trains:
        if not (work.path / step.run.checkpoint).is_file():
            raise UserError(
                f"{step.title} left no {step.run.checkpoint}; its output is {step.child.log}"
            )
        work.set_trained(step.run.folder)
    step.done = True


def _infer_rate(work: WorkFolder, plan: Plan) -> float | None:
    """Percent errors as fairseq's infer wrote them; None where it did not come to its end."""
    file = work.path / plan.cross_checked.folder / "infer" / "wer"
    try:
        return float(file.read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _cross_check(work: WorkFolder, plan: Plan) -> str:
    run, theirs = plan.cross_checked, _infer_rate(work, plan)
    file = work.path / run.folder / "eval" / f"{plan.test}.json"
    ours = json.loads(file.read_text(encoding="utf-8"))[0]["rate"]
    same = "the same" if theirs == ours else f"{ours} here"
    return f"fairseq's own infer on {run.name}, {plan.test}: {theirs}, {same}"


def _work_done(work: WorkFolder, step: _Step, plan: Plan) -> float:
    if step.done:
        return step.work
    if not step.trains:
        return 0.0
    updates = updates_done(work.path / step.run.folder / LOG_FILE)
    return min(updates, plan.updates) + (_START_UPDATES if updates else 0)
