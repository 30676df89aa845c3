"""Runs and transfers on GLUE as tables, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parp_fairseq.glue.outcome import Outcome
from parp_fairseq.glue.tasks import TASKS
from parp_fairseq.glue.transfer import MPI, PARP, REGULAR
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.table import aligned

NOT_RUN = "not run"

Table = tuple[str, list[str], list[list[str]]]
"""Title, header, rows."""


def runs_table(results: Sequence[Mapping[str, Any]]) -> str:
    """An aligned table of runs of one task, a row a seed and metric, and their means.

    Args:
        results: what `GlueRuns.run` returned.
    """
    header = ["task", "method", "sparsity", "seed", "set", "metric", "score", "95% interval"]
    header += ["updates", "seconds"]
    rows: list[list[str]] = []
    means: dict[tuple[str, str], list[float]] = {}
    for result in results:
        for split, scores in result["scores"].items():
            for score in scores:
                means.setdefault((split, score["name"]), []).append(score["value"])
                rows.append(
                    [
                        *_head(result),
                        str(result["seed"]),
                        split,
                        score["name"],
                        f"{score['value']:.2f}",
                        f"[{score['low']:.2f}, {score['high']:.2f}]",
                        f"{result['updates']:,}",
                        f"{result['seconds']:,.0f}",
                    ]
                )
    if len(results) > 1:
        for (split, name), values in means.items():
            mean = f"{sum(values) / len(values):.2f}"
            reach = f"{min(values):.2f} to {max(values):.2f}"
            rows.append([*_head(results[0]), "mean", split, name, mean, reach, "", ""])
    return aligned(header, rows, left=2)


def _head(result: Mapping[str, Any]) -> list[str]:
    task = TASKS[result["task"]].title
    return [task, result["method"], f"{result['counted']['sparsity']:.4f}"]


def transfer_tables(outcome: Outcome) -> list[Table]:
    """The averages as in table 4, the matrices behind them, and the overlap of the masks."""
    tasks = [task.name for task in outcome.plan.tasks]
    titles = [task.title for task in outcome.plan.tasks]
    kind = outcome.plan.kind.upper()
    rows = [["dense", *(_cell(outcome.mean("dense", None, t)) for t in tasks)]]
    rows.append(["same-task", *(_cell(outcome.mean(REGULAR, t, t)) for t in tasks)])
    for way, title in ((PARP, "cross-task, PARP"), (REGULAR, "cross-task, regular")):
        rows.append([title, *(_cell(outcome.average(way, t)) for t in tasks)])
    for method in outcome.plan.alone:
        title = METHODS[method].title if method in METHODS else method.upper()
        rows.append([f"{title} alone", *(_cell(outcome.mean(method, None, t)) for t in tasks)])
    tables: list[Table] = [("Scores by target task", ["", *titles], rows)]
    for way, title in ((REGULAR, "regular"), (PARP, "with PARP")):
        lines = [
            [f"{TASKS[a].title} mask", *(_cell(outcome.mean(way, a, b)) for b in tasks)]
            for a in tasks
        ]
        tables.append((f"{kind} masks of tasks (rows), {title}", ["", *titles], lines))
    overlap = outcome.overlap()
    if overlap is not None:
        names = [*titles, MPI.upper()]
        lines = [[name, *(f"{v:.4f}" for v in line)] for name, line in zip(names, overlap)]
        tables.append((f"IOU of the {kind} masks", ["", *names], lines))
    return tables


def _cell(value: float | None) -> str:
    return NOT_RUN if value is None else f"{value:.2f}"


def as_text(tables: Sequence[Table]) -> str:
    """Aligned tables, their titles above them."""
    return "\n\n".join(f"{title}\n{aligned(header, rows)}" for title, header, rows in tables)


def as_markdown(tables: Sequence[Table], level: int = 2) -> str:
    """Markdown with a heading a table."""
    parts = []
    for title, header, rows in tables:
        lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        parts.append(f"{'#' * level} {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"
