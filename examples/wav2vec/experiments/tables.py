"""Tables of results, for people (Markdown) and programs (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.plan import FineTuning, World
from experiments.scores import Setting
from experiments.statistics import CELLS, Estimate, effects
from parp_fairseq.config import shipped
from parp_fairseq.pruning.methods import METHODS

NOT_RUN = "not run"


@dataclass(frozen=True)
class Table:
    """Cells as text; `left` columns are words, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1

    def markdown(self) -> str:
        """As Markdown."""
        lines = [list(self.header), ["---"] * self.left]
        lines[1] += ["---:"] * (len(self.header) - self.left)
        lines += [list(row) for row in self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def csv(self) -> str:
        """As comma-separated values, with the title as the first column."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["table", *self.header])
        writer.writerows([self.title, *row] for row in self.rows)
        return text.getvalue()


def method_title(method: str) -> str:
    """What a method is called, IMP included."""
    return METHODS[method].title if method in METHODS else method.upper()


def title_of(ft: FineTuning) -> str:
    """Method and what else tells a setting from its neighbours."""
    name = method_title(ft.method)
    extra = ", ".join(f"{key} {value}" for key, value in ft.options)
    if ft.source is not None:
        name = f"{name} from {ft.source_title}"
    return f"{name}, {extra}" if extra else name


def percent(share: float) -> str:
    """0.9 as "90%"."""
    return f"{round(100 * share, 2):g}%"


def metric_of(settings: Sequence[Setting]) -> str:
    """WER or PER: what was scored or, before anything was, what the first world promises."""
    for setting in settings:
        for scored in setting.by_seed.values():
            return str(scored.content["scores"][0]["metric"])
    return _promised(settings[0].first.world) if settings else "WER"


def _promised(world: World) -> str:
    """By the options of its trainings: PER where the criterion joins no letters into words."""
    config = shipped.read(world.config)
    joining = str(config["criterion"]["post_process"])
    for override in world.overrides:
        key, _, value = override.partition("=")
        joining = value if key == "criterion.post_process" else joining
    return "PER" if joining == "none" else "WER"


def estimate_shown(setting: Setting, split: str, checkpoint: str = "last") -> str:
    """Errors over seeds with their interval."""
    rates = setting.rates(split, checkpoint)
    return Estimate.of(list(rates.values())).shown() if rates else NOT_RUN


def seeds_shown(setting: Setting) -> str:
    """How many seeds were run."""
    return f"{len(setting.by_seed)} of {setting.wanted}"


def rates_tables(settings: Sequence[Setting]) -> list[Table]:
    """Errors on every split, a table a world."""
    worlds = list(dict.fromkeys(setting.first.world.name for setting in settings))
    tables = []
    for world in worlds:
        rows = [setting for setting in settings if setting.first.world.name == world]
        metric = metric_of(rows)
        splits = rows[0].first.world.splits
        body = [
            [
                title_of(row.first),
                percent(row.first.sparsity),
                *(estimate_shown(row, split) for split in splits),
                seeds_shown(row),
                str(row.first.trainings + (row.first.needs is not None)),
            ]
            for row in rows
        ]
        header = ["method", "sparsity", *(f"{metric} {split}" for split in splits)]
        tables.append(Table(world, [*header, "seeds", "fine-tunings"], body))
    return tables


def cell_of(ft: FineTuning) -> str | None:
    """Which of the four cells a fine-tuning is; None for GMP's own cubic climb."""
    method = METHODS[ft.method]
    if method.ramps and ft.option("schedule", method.schedule) != "linear":
        return None
    return CELLS[2 * method.ramps + (not method.static)]


def by_cell(settings: Sequence[Setting], split: str) -> dict[float, dict[str, dict[int, float]]]:
    """Sparsity → cell → seed → errors."""
    found: dict[float, dict[str, dict[int, float]]] = {}
    for setting in settings:
        cell = cell_of(setting.first)
        if cell is not None:
            found.setdefault(setting.first.sparsity, {})[cell] = setting.rates(split)
    return dict(sorted(found.items()))


def effects_tables(settings: Sequence[Setting]) -> list[Table]:
    """The cells of the two by two design, and their effects."""
    metric = metric_of(settings)
    split = settings[0].first.world.test[0]
    rows = [
        [
            title_of(setting.first),
            percent(setting.first.sparsity),
            cell_of(setting.first) or "climbing (cubic), held",
            estimate_shown(setting, split),
            seeds_shown(setting),
        ]
        for setting in settings
    ]
    cells = Table(
        f"{metric} on {split}",
        ["method", "sparsity", "cell", f"{metric} {split}", "seeds"],
        rows,
        1,
    )
    found = []
    for sparsity, members in by_cell(settings, split).items():
        effect = effects(members)
        if effect is None:
            found.append([percent(sparsity), *[NOT_RUN] * 3, "0"])
            continue
        values = (effect.revival, effect.schedule, effect.interaction)
        found.append(
            [percent(sparsity), *(value.shown(signed=True) for value in values),
             str(effect.revival.count)]
        )  # fmt: skip
    header = ["sparsity", "revival (free - held)", "schedule (climbing - constant)"]
    table = Table(f"effects on {metric}, points", [*header, "interaction", "seeds"], found, 1)
    return [cells, table]


def views_tables(settings: Sequence[Setting]) -> list[Table]:
    """Errors of m⊙θ and of the θ that the scripts' way keeps."""
    metric = metric_of(settings)
    split = settings[0].first.world.test[0]
    rows = []
    for setting in settings:
        ft = setting.first
        line = [METHODS[ft.method].title, percent(ft.sparsity), str(ft.option("interval"))]
        if not setting.by_seed:
            rows.append([*line, *[NOT_RUN] * 5, seeds_shown(setting)])
            continue
        cells = [estimate_shown(setting, split, which) for which in ("last", "best", "kept")]
        kept = [scored.row(split, "kept") for scored in setting.by_seed.values()]
        updates = ", ".join(str(row["update"]) for row in kept)
        zeros = percent(sum(row["zeros"] for row in kept) / len(kept))
        rows.append([*line, *cells, updates, zeros, seeds_shown(setting)])
    header = [
        "method",
        "sparsity",
        "n",
        "m⊙θ, last",
        "m⊙θ, best",
        "θ, kept",
        "kept at update",
        "zeros in θ kept",
        "seeds",
    ]
    return [Table(f"{metric} on {split}", header, rows, 1)]
