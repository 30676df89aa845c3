"""One HTML page with everything on it: no other file, no network."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

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
        runs = table.unfinished
        lines = [f"{r.folder}: {r.log.updates:,} of {r.total_updates:,} updates" for r in runs]
        parts += ["<h2>Unfinished</h2>", _list(lines)]
    for picture in pictures:
        image = base64.b64encode((folder / picture.name).read_bytes()).decode("ascii")
        parts.append(
            f"<h2>{escape(picture.title)}</h2>\n<figure>"
            f'<img alt="{escape(picture.title)}" src="data:image/png;base64,{image}">'
            f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
        )
    titles = {row.method: row.title.split(" (")[0] for row in table.rows}
    known = [method for method in METHODS if method in titles]
    if known:
        parts.append("<h2>The methods</h2>\n<dl>")
        parts += [
            f"<dt>{escape(titles[method])}</dt><dd>{escape(METHODS[method].about)}</dd>"
            for method in known
        ]
        parts.append("</dl>")
        parts.append("<p>Method and names: PARP (Prune, Adjust and Re-Prune), NeurIPS 2021.</p>")
    if table.rows:
        parts += [*_commands(table, before_commands), *_versions(table)]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _table(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "\n".join(line(cells, "td") for cells in table.cells())
    head = line(table.header, "th")
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _commands(table: Table, before: str) -> list[str]:
    parts = ["<h2>The line that repeats each run</h2>"]
    folders = {str(run.option("task.folder") or "") for row in table.rows for run in row.runs}
    if len(folders) == 1 and "" not in folders:
        folder = shlex.join(["cd", folders.pop()])
        parts.append(
            f"<pre>{escape(folder)}</pre>\n<p>An existing run is kept: give another "
            "hydra.run.dir to train it again.</p>"
        )
    for row in table.rows:
        lines = [f"{before} {line}".strip() for r in row.runs if (line := repeat_line(r))]
        if lines:
            text = escape("\n".join(lines))
            parts.append(f"<p><b>{escape(row.label)}</b></p>\n<pre>{text}</pre>")
    return parts


def repeat_line(run: Run) -> str:
    """The command that repeats a run, as it is typed in a shell; empty where it is not known."""
    command = [str(part) for part in run.record.get("command") or []]
    return shlex.join([Path(command[0]).name, *command[1:]]) if command else ""


def _versions(table: Table) -> list[str]:
    found = [run.record.get("versions") or {} for row in table.rows for run in row.runs]
    lines = (", ".join(f"{name} {version}" for name, version in one.items()) for one in found)
    return [
        f'<p class="notes">Made with {escape(line)}</p>' for line in dict.fromkeys(lines) if line
    ]
