"""RESULTS.md from what runs on GLUE left: results.py [RUNS_FOLDER].

With a folder of runs, their small JSON files are first copied into `results/` beside this script
(no weights, no data). The table, the claims and what was not run are then told from those copies.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from parp_fairseq.files import write_lines
from parp_fairseq.glue.outcome import Outcome, read_outcome
from parp_fairseq.glue.specs import PruningOptions
from parp_fairseq.glue.store import EXPERIMENT, Store
from parp_fairseq.glue.tables import as_markdown, transfer_tables
from parp_fairseq.glue.tasks import task_named
from parp_fairseq.glue.transfer import PARP, REGULAR, Plan

HERE = Path(__file__).resolve().parent
TASKS = ("cola", "sts-b", "mrpc", "rte", "sst-2")
ALONE = ("parp", "parp_p", "mpi", "rp")
SPARSITY = 0.7
CLAIMED_OVERLAP = 0.98

# Table 4, BERT at 70%: same-task, cross-task with PARP, regular cross-task. Its nine columns are
# in another order in some copies of the paper; those of RTE, SST-2 and STS-B are a reconstruction.
PAPER = {
    "cola": (38.89, 28.48, 10.12),
    "mrpc": (75.57, 75.98, 71.94),
    "rte": (58.37, 59.69, 57.59),
    "sst-2": (89.99, 89.59, 88.80),
    "sts-b": (87.34, 86.25, 80.27),
}


def main(arguments: list[str]) -> None:
    """Copy where a folder is given, then write RESULTS.md."""
    kept = HERE / "results"
    if arguments:
        copy_results(Path(arguments[0]), kept)
    write_lines(HERE / "RESULTS.md", [page(*outcomes_in(kept)).rstrip("\n")])
    print(HERE / "RESULTS.md")


def copy_results(runs: Path, kept: Path) -> None:
    """Copy the JSON files of finished runs and the overlaps of masks."""
    found = [runs / EXPERIMENT, *runs.glob("*/*/*/result.json"), *runs.glob("overlap_*.json")]
    for file in found:
        if file.is_file():
            target = kept / file.relative_to(runs)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def plan_of(names: Iterable[str], seeds: Sequence[int], alone: Sequence[str] = ALONE) -> Plan:
    """The plan of run.sh for some of its tasks."""
    tasks = tuple(task_named(name) for name in names)
    return Plan(tasks, SPARSITY, "omp", tuple(seeds), tuple(alone), PruningOptions())


def outcomes_in(folder: Path) -> tuple[Outcome, Outcome]:
    """What the runs found: of the tasks whose matrix is whole, two at least, and of all."""
    store = Store(folder)
    seeds = sorted({int(p.parent.name[4:]) for p in folder.glob("*/*/seed*/result.json")}) or [1]
    count = len(TASKS)
    while count > 2 and not all(
        map(store.result, plan_of(TASKS[:count], seeds, ()).specs(seeds[0]))
    ):
        count -= 1
    return tuple(read_outcome(plan_of(names, seeds), store) for names in (TASKS[:count], TASKS))


def page(outcome: Outcome, everything: Outcome) -> str:
    """The whole of RESULTS.md."""
    parts = [
        "# Table 4 on a small BERT",
        "Written by `python examples/glue/results.py` from the JSON files in `results/`; do not "
        "edit it. [README.md](README.md) says how to get model and data, and how to run it all.",
        made_on(everything),
        "## Beside the paper",
        beside_the_paper(outcome, everything),
        "The paper's numbers are BERT-base's with IMP masks (BERT-Ticket's settings, all training "
        "examples, averages over the eight other tasks' masks); ours are a six-layer model's with "
        "OMP masks and the settings above, averaged over the masks of the other tasks in the "
        "matrices below. Compare what transfer costs, not the scores.",
        "## Do the claims hold?",
        claims(outcome),
        as_markdown(transfer_tables(outcome)).rstrip("\n"),
        "## Not run",
        not_run(everything),
    ]
    return "\n\n".join(parts) + "\n"


def made_on(outcome: Outcome) -> str:
    """Model, settings, seeds, machine and time, in a list."""
    settings, results = outcome.settings, outcome.results
    loads = [result["machine"]["load"][0] for result in results]
    machines = sorted({described(result["machine"]) for result in results})
    sizes = sorted({r["counted"]["entries"] for r in results if r["method"] != "dense"})
    size = listed(f"{n:,}" for n in sizes) or "no"
    lines = [
        f"- Model: MiniLM-L6 (BERT, 6 layers of width 384), {size} "
        "prunable weights: the encoder's linears, one threshold for all. Its pooler's "
        "weights are so small that one threshold prunes it whole: it is left out",
        f"- Settings: {settings['limit_train'] or 'all'} training examples of each task, "
        f"{settings['epochs']} epochs, batch {settings['batch']}, learning rate "
        f"{settings['learning_rate']:g} falling linearly, {settings['max_length']} tokens, "
        f"{settings.get('precision', 'fp32')}. BERT-Ticket has all examples, batch 32, 2e-5 and "
        "fp32; ours were chosen for one core",
        "- Masks: OMP at 70%; PARP prunes again after every epoch; scores are the development "
        "sets' after the last epoch (Matthews for CoLA, Pearson for STS-B, else accuracy)",
        f"- Seeds: {listed(map(str, outcome.plan.seeds))}; runs: {len(results)} of "
        f"{outcome.planned} planned, {outcome.seconds / 3600:.1f} hours",
        f"- Machine: {' and '.join(machines)}; load {min(loads):.0f} to {max(loads):.0f}"
        if results
        else "- Machine: nothing was run",
        "- XLNet: not run, since no pre-trained weights could be had; the tests prune a small "
        "random one",
    ]
    return "\n".join(lines)


def described(machine: dict) -> str:
    """A machine in words."""
    name = machine.get("processor") or machine["device"]
    return f"{name}, {machine['processors']} cores, {machine['threads']} thread"


def beside_the_paper(outcome: Outcome, everything: Outcome) -> str:
    """Same-task, PARP and regular, ours and the paper's, a row a task."""
    lines = [
        "| task | dense | same-task | PARP | regular | PARP gains "
        "| paper: same-task | PARP | regular | PARP gains |",
        f"|---|{'---:|' * 9}",
    ]
    for task in everything.plan.tasks:
        within = task in outcome.plan.tasks
        same, parp, regular = ours(outcome, task.name) if within else (None, None, None)
        dense = everything.mean("dense", None, task.name)
        cells = [shown(v) for v in (dense, same, parp, regular)]
        cells.append(shown(less(parp, regular), "+.2f"))
        theirs = PAPER[task.name]
        cells += [shown(v) for v in theirs] + [shown(theirs[1] - theirs[2], "+.2f")]
        lines.append(f"| {task.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ours(outcome: Outcome, task: str) -> tuple[float | None, float | None, float | None]:
    """Same-task, cross-task with PARP, regular cross-task."""
    same = outcome.mean(REGULAR, task, task)
    return same, outcome.average(PARP, task), outcome.average(REGULAR, task)


def claims(outcome: Outcome) -> str:
    """The paper's two claims, judged from what was run."""
    lowest = outcome.lowest_overlap()
    if lowest is None:
        lines = ["- Overlap of the tasks' masks above 98%: not run."]
    else:
        verdict = "holds" if lowest > CLAIMED_OVERLAP else "does not hold here"
        matrix = next(iter(outcome.overlaps.values()))
        to_mpi = min(min(m[-1][:-1]) for m in outcome.overlaps.values())
        lines = [
            f"- Overlap of the tasks' masks above 98%: {verdict}. The lowest IOU of the "
            f"{len(matrix) - 1} tasks' masks is {100 * lowest:.2f}%, the lowest with MPI's "
            f"{100 * to_mpi:.2f}%."
        ]
    compared = []
    for task in outcome.plan.tasks:
        same, parp, regular = ours(outcome, task.name)
        if None not in (same, parp, regular):
            compared.append((task.title, less(parp, same), less(regular, same)))
    if not compared:
        return "\n".join([*lines, "- PARP loses less in transfer: not run."])
    better = [title for title, parp, regular in compared if parp > regular]
    told = "; ".join(
        f"{title} {parp:+.2f} with PARP, {regular:+.2f} without"
        for title, parp, regular in compared
    )
    half = interval(outcome)
    lines.append(
        f"- PARP loses less in transfer: on {len(better)} of {len(compared)} tasks. Points over "
        f"the same-task mask: {told}. The 95% intervals of single scores reach ±{half:.1f} points "
        "on average, so smaller differences mean little."
    )
    return "\n".join(lines)


def interval(outcome: Outcome) -> float:
    """Half the width of the scores' 95% intervals, on average."""
    widths = [r["scores"]["dev"][0]["high"] - r["scores"]["dev"][0]["low"] for r in outcome.results]
    return sum(widths) / len(widths) / 2


def not_run(outcome: Outcome) -> str:
    """Runs of the plan that are missing, by task."""
    done = {(r["task"], r["method"], r["source"], r["seed"]) for r in outcome.results}
    lines = []
    for seed in outcome.plan.seeds:
        for task in outcome.plan.tasks:
            names = [
                spec.name
                for spec in outcome.plan.specs(seed)
                if spec.task is task
                and (task.name, spec.label, str(spec.source) if spec.source else None, seed)
                not in done
            ]
            if names:
                lines.append(f"- {task.title}, seed {seed}: {', '.join(names)}")
    lines.append("- BERT-base, QNLI, QQP, WNLI, MNLI, IMP masks, further seeds, XLNet")
    return "\n".join(lines)


def less(a: float | None, b: float | None) -> float | None:
    """The difference; None where one is missing."""
    return None if a is None or b is None else a - b


def shown(value: float | None, form: str = ".2f") -> str:
    """A number, or that it was not run."""
    return "not run" if value is None else format(value, form)


def listed(values: Iterable[str]) -> str:
    """Values with commas between them."""
    return ", ".join(values)


if __name__ == "__main__":
    main(sys.argv[1:])
