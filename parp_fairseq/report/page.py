"""One HTML page with everything on it: no other file, no network."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.report.drawing import Picture
from parp_fairseq.report.run_table import Table
from parp_fairseq.runs.reading import Run

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .3rem; } h2 { font-size: 1.25rem; margin-top: 2.4rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 2px solid #1a1a1a; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption, .notes { color: #444; font-size: .93rem; } .notes { padding-left: 1.1rem; }
pre { background: #f4f4f4; padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere;
      font-size: .86rem; line-height: 1.45; }
dt { font-weight: 600; margin-top: .4rem; } dd { margin-left: 1.2rem; }
"""


def render_page(
    table: Table,
    pictures: Sequence[Picture],
    folder: Path,
    *,
    title: str = "Runs",
    introduction: str = "",
    before_commands: str = "",
) -> str:
    """Return the page's HTML.

    Args:
        table: the table.
        pictures: figures, whose PNGs lie in `folder`; they are put into the page itself.
        folder: where the PNGs are.
        title: the page's heading.
        introduction: a paragraph below it, plain text.
        before_commands: what precedes the commands that repeat the runs, such as A=1.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    if introduction:
        parts.append(f"<p>{escape(introduction)}</p>")
    if table.rows:
        parts += [_table(table), _list(table.notes)]
    if table.unfinished:
        parts.append("<h2>Unfinished</h2>")
        parts.append(
            _list(
                [
                    f"{run.folder}: {run.log.updates:,} of {run.total_updates:,} updates"
                    for run in table.unfinished
                ]
            )
        )
    for picture in pictures:
        image = base64.b64encode((folder / picture.name).read_bytes()).decode("ascii")
        parts.append(
            f"<h2>{escape(picture.title)}</h2>\n<figure><img alt={_quoted(picture.title)} "
            f'src="data:image/png;base64,{image}">'
            f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
        )
    methods = [m for m in METHODS if any(row.method == m for row in table.rows)]
    if methods:
        titles = {row.method: row.title.split(" (")[0] for row in table.rows}
        parts.append("<h2>The methods</h2>\n<dl>")
        parts += [
            f"<dt>{escape(titles[m])}</dt><dd>{escape(METHODS[m].about)}</dd>" for m in methods
        ]
        parts.append("</dl>")
        parts.append("<p>Method and names: PARP (Prune, Adjust and Re-Prune), NeurIPS 2021.</p>")
    if table.rows:
        parts += _commands(table, before_commands)
        parts += _versions([run for row in table.rows for run in row.runs])
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    lines = [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in table.cells()
    ]
    return (
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + ("\n</tbody>\n</table>")
    )


def _list(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return '<ul class="notes">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def repeat_line(run: Run) -> str:
    """The command that repeats a run, as it is typed in a shell; empty where it is not known."""
    command = [str(part) for part in run.record.get("command") or []]
    if not command:
        return ""
    return shlex.join([Path(command[0]).name, *command[1:]])


def _commands(table: Table, before: str) -> list[str]:
    parts = ["<h2>The line that repeats each run</h2>"]
    folders = {str(run.option("task.folder") or "") for row in table.rows for run in row.runs}
    if len(folders) == 1 and "" not in folders:
        folder = shlex.join(["cd", folders.pop()])
        parts.append(
            f"<pre>{escape(folder)}</pre>\n<p>A run that is there is kept: give another "
            "hydra.run.dir to train it anew.</p>"
        )
    for row in table.rows:
        lines = [f"{before} {line}".strip() for r in row.runs if (line := repeat_line(r))]
        if lines:
            text = "\n".join(lines)
            parts.append(f"<p><b>{escape(row.label)}</b></p>\n<pre>{escape(text)}</pre>")
    return parts


def _versions(runs: Sequence[Run]) -> list[str]:
    lines: dict[str, None] = {}
    for run in runs:
        versions: Mapping[str, Any] = run.record.get("versions") or {}
        line = ", ".join(f"{name} {version}" for name, version in versions.items())
        if line:
            lines[line] = None
    return [f'<p class="notes">Made with {escape(line)}</p>' for line in lines]


def _quoted(text: str) -> str:
    return f'"{escape(text, quote=True)}"'
