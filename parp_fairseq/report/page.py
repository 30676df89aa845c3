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
        lines = "\n".join(_cells(cells, "td") for cells in table.cells())
        head = f"<thead>{_cells(table.header, 'th')}</thead>"
        parts.append(f"<table>\n{head}\n<tbody>\n{lines}\n</tbody>\n</table>")
        parts.append(_list(table.notes))
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
    known = {method: METHODS[method] for method in METHODS if method in titles}
    if known:
        about = (
            f"<dt>{escape(titles[method])}</dt><dd>{escape(one.about)}</dd>"
            for method, one in known.items()
        )
        parts += ["<h2>The methods</h2>\n<dl>", *about, "</dl>"]
        parts.append("<p>Method and names: PARP (Prune, Adjust and Re-Prune), NeurIPS 2021.</p>")
    parts += _commands(table, before_commands)
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _cells(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _commands(table: Table, before: str) -> list[str]:
    """The commands that repeat the runs, as they are typed in a shell, and the versions."""
    runs = [run for row in table.rows for run in row.runs]
    if not runs:
        return []
    parts = ["<h2>The line that repeats each run</h2>"]
    folders = {str(run.option("task.folder") or "") for run in runs}
    if len(folders) == 1 and "" not in folders:
        parts.append(
            f"<pre>{escape(shlex.join(['cd', folders.pop()]))}</pre>\n<p>An existing run is kept: "
            "give another hydra.run.dir to train it again.</p>"
        )
    for row in table.rows:
        found = [
            list(map(str, run.record["command"])) for run in row.runs if run.record.get("command")
        ]
        lines = (shlex.join([Path(program).name, *rest]) for program, *rest in found)
        text = escape("\n".join(f"{before} {line}".strip() for line in lines))
        if text:
            parts.append(f"<p><b>{escape(row.label)}</b></p>\n<pre>{text}</pre>")
    versions = [(run.record.get("versions") or {}).items() for run in runs]
    made = dict.fromkeys(", ".join(f"{name} {version}" for name, version in v) for v in versions)
    return parts + [f'<p class="notes">Made with {escape(one)}</p>' for one in made if one]
