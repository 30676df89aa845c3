"""The tables of the paper's results: the runs of the grid's targets, as results/*.csv have them."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from parp_fairseq.errors import UserError
from parp_fairseq.grid.setups import read_grid
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.report.rendering import TextTable, percent
from parp_fairseq.report.statistics import DESIGN, Effects, Estimate, design_effects, mean
from parp_fairseq.report.tidy import (
    MaskPair,
    Score,
    read_table,
)

HERE = Path(__file__).resolve().parent
INTERVAL = 25  # task.prune.interval where a run does not name one
WAYS = ("static", "parp")
OWN, ANOTHER_SEED, OTHERS, RANDOM = ("own", "another_seed", "other_languages", "random")
"""Whose mask is moved, as claims call it."""


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in their seed only: seed → (split, checkpoint) → score."""

    setup: str
    setting: str
    by_seed: Mapping[int, Mapping[tuple[str, str], Score]]

    @cached_property
    def first(self) -> Score:
        """One of its scores, for what all have in common."""
        return next(iter(next(iter(self.by_seed.values())).values()))

    @cached_property
    def splits(self) -> list[str]:
        """The validation set, then the test sets."""
        scores = next(iter(self.by_seed.values()))
        return [split for split, checkpoint in scores if checkpoint == "last"]

    @cached_property
    def updates(self) -> int:
        """Of a training."""
        return max(score.update for scores in self.by_seed.values() for score in scores.values())

    @property
    def metric(self) -> str:
        """WER or PER."""
        return self.first.metric

    @property
    def n(self) -> int:
        """Updates between two prunings, at most all; 0 where the mask is static."""
        method = METHODS.get(self.first.method)
        if self.first.method in ("dense", "imp") or (method.static and not method.ramps):
            return 0
        return min(int(self.first.option_values.get("interval", INTERVAL)), self.updates)

    @property
    def interval(self) -> str:
        """n as text; "-" where the mask is static."""
        return "-" if self.n == 0 else "never" if self.n == self.updates else str(self.n)

    @property
    def design(self) -> str | None:
        """Its part of the two by two design; None for GMP's own cubic ramp."""
        method = METHODS[self.first.method]
        if method.ramps and self.first.option_values.get("schedule", method.schedule) != "linear":
            return None
        return DESIGN[2 * method.ramps + (not method.static)]

    def scores(self, split: str | None = None, checkpoint: str = "last") -> dict[int, Score]:
        """Seed → score; of the first test set without `split`."""
        key = (split or self.splits[1], checkpoint)
        return {seed: scores[key] for seed, scores in sorted(self.by_seed.items())}

    def rates(self, split: str | None = None, checkpoint: str = "last") -> dict[int, float]:
        """Seed → errors in percent."""
        return {seed: score.rate for seed, score in self.scores(split, checkpoint).items()}

    def estimate(self, split: str | None = None, checkpoint: str = "last") -> Estimate:
        """Mean errors over seeds with their interval."""
        return Estimate.of(list(self.rates(split, checkpoint).values()))


class Results:
    """The tidy tables, the targets of claims.yaml, and the runs that the grid gives them.

    Raises:
        UserError: a file is missing or damaged, or a target has a run that scores.csv lacks.
    """

    def __init__(self, home: Path = HERE) -> None:
        """Read everything below `home`."""
        text = (home / "claims.yaml").read_text(encoding="utf-8")
        self.targets: dict[str, dict[str, Any]] = yaml.safe_load(text)
        self.grid = read_grid(home / "grids" / "small.yaml").targets
        self.masks = read_table(home / "results" / "masks.csv", MaskPair)
        # A nested run has scores at several sparsities.
        self.by_run: dict[str, dict[float, dict[tuple[str, str], Score]]] = {}
        for score in read_table(home / "results" / "scores.csv", Score):
            if not score.checkpoint.startswith("update"):
                key = (score.split, score.checkpoint)
                self.by_run.setdefault(score.run, {}).setdefault(score.sparsity, {})[key] = score

    def groups(self, names: Iterable[str] | None = None) -> list[RunGroup]:
        """Runs of these names (default: all) without their seeds."""
        found: dict[tuple[str, str], dict[int, Mapping[tuple[str, str], Score]]] = {}
        for name in self.by_run if names is None else names:
            if name not in self.by_run:
                raise UserError(f"results/scores.csv has no run {name!r}; train it first")
            for scores in self.by_run[name].values():
                first = next(iter(scores.values()))
                found.setdefault((first.setup, first.setting), {})[first.seed] = scores
        return [RunGroup(*key, seeds) for key, seeds in found.items()]

    def target(self, name: str) -> dict[str, Any]:
        """What claims.yaml says of a target."""
        if name not in self.targets:
            raise UserError(f"no target {name!r}; choose from {', '.join(self.targets)}")
        return self.targets[name]

    def run_groups(self, name: str) -> dict[str, list[RunGroup]]:
        """Setup → its runs, in the order of the grid."""
        found: dict[str, list[RunGroup]] = {}
        self.target(name)
        for runs in self.groups(run.name for run in self.grid[name].runs):
            found.setdefault(runs.setup, []).append(runs)
        return found


def method_title(method: str) -> str:
    """What a method is called, IMP included."""
    return METHODS[method].title if method in METHODS else method.upper()


def words(setting: str) -> str:
    """A setting in words: "parp 0.7 interval=5" as "PARP 70%, interval 5"."""
    setting, _, source = setting.partition(" from ")
    method, *rest = setting.split()
    text = " ".join([method_title(method), *(percent(float(sparsity)) for sparsity in rest[:1])])
    if source:
        text = text.replace("given mask", "OMP") + f" with the mask of {source}"
    return ", ".join([text, *(option.replace("=", " ") for option in rest[1:])])


# --- what is compared -----------------------------------------------------------------------


class Sample(NamedTuple):
    """Errors to compare."""

    metric: str  # WER or PER
    # by seed; or by language or by target of a moved mask, the mean over seeds
    rates: Mapping[Hashable, float]
    # bootstrap intervals over utterances, one a seed; of single runs only
    intervals: Sequence[tuple[float, float]] = ((-math.inf, math.inf),)


def samples(results: Results, name: str) -> dict[str, dict[str, Sample]]:
    """Setup (or group of languages, or model) → what is compared there → its errors."""
    kind = results.target(name)["kind"]
    if kind == "transfer":
        metric = next(iter(results.run_groups(name).values()))[0].metric
        return {
            model: {
                f"{whose} {way}": Sample(metric, rates[way, whose])
                for way in WAYS
                for whose in (OWN, ANOTHER_SEED, OTHERS, RANDOM)
            }
            for model, rates in transfers(results, name).items()
        }
    found: dict[str, dict[str, Sample]] = {}
    for setup, groups in results.run_groups(name).items():
        for runs in groups:
            metric = runs.metric
            if kind != "languages":
                bounds = [(one.rate_low, one.rate_high) for one in runs.scores().values()]
                found.setdefault(setup, {})[runs.setting] = Sample(metric, runs.rates(), bounds)
                continue
            # One model for several languages has a test set for each.
            tests = runs.splits[1:]
            group = setup if len(tests) > 1 else setup.rpartition("-")[0]
            row = found.setdefault(group, {}).setdefault(runs.setting, Sample(metric, {}))
            for split in tests:
                language = split.partition("-")[2] or setup.rpartition("-")[2]
                row.rates[language] = mean(runs.rates(split).values())
    return found


def effects(results: Results, name: str) -> dict[float, Effects]:
    """The effects of a design at each sparsity that has all of its parts."""
    ((_, groups),) = results.run_groups(name).items()
    found: dict[float, dict[str, dict[int, float]]] = {}
    for runs in groups:
        if runs.design is not None:
            found.setdefault(runs.first.sparsity, {})[runs.design] = runs.rates()
    effects = {sparsity: design_effects(rates) for sparsity, rates in sorted(found.items())}
    return {sparsity: one for sparsity, one in effects.items() if one is not None}


def transfers(results: Results, name: str) -> dict[str, dict[tuple[str, str], dict[str, float]]]:
    """Pre-trained model → (way, whose mask) → setup that it is moved to → errors, over seeds."""
    found: dict[str, dict[tuple[str, str], dict[str, float]]] = {}
    for setup, groups in results.run_groups(name).items():
        for runs in groups:
            first = runs.first
            if first.method == "omp":
                source = setup
            elif first.source:
                source = ANOTHER_SEED if "another seed" in runs.setting else first.source
            elif first.method == "rp" or first.option_values.get("initial") == "random":
                source = RANDOM
            else:
                continue
            way = "static" if METHODS[first.method].static else "parp"
            rates = found.setdefault(Path(first.model).stem, {})
            rates.setdefault((way, source), {})[setup] = runs.estimate().mean
    for rates in found.values():
        setups = list(rates["static", RANDOM])
        for way in WAYS:
            rates[way, OWN] = {to: rates[way, to][to] for to in setups}
            rates[way, OTHERS] = {
                to: mean(rates[way, one][to] for one in setups if one != to) for to in setups
            }
    return found


# --- tables ---------------------------------------------------------------------------------


def tables_of(results: Results, name: str) -> list[TextTable]:
    """The tables of a target: its settings in each setup, and what its kind adds."""
    kind = results.target(name)["kind"]
    if kind == "overlap":
        return _overlap_tables(results, name)
    tables = [_settings_table(results, *item) for item in results.run_groups(name).items()]
    return tables + (_compared(results, name) if kind in ("languages", "transfer") else [])


def _settings_table(results: Results, setup: str, groups: list[RunGroup]) -> TextTable:
    """A row for each setting: its cost, and errors of m⊙θ on every split and of what was kept."""
    first = groups[0]
    keys = [(split, "last") for split in first.splits]
    if (first.splits[1], "kept") in next(iter(first.by_seed.values())):
        keys += [(first.splits[1], "best"), (first.splits[1], "kept")]
    body = []
    for runs in groups:
        minutes = f"{mean(_minutes(runs, results)):.1f}"
        # From the pre-trained model on, the one that OMP's mask comes from included.
        fine_tunings = runs.first.trainings + (
            runs.first.method == "omp" or bool(runs.first.source)
        )
        rates = (runs.estimate(*key).shown() for key in keys)
        body.append(
            [words(runs.setting), runs.interval, *rates, len(runs.by_seed), fine_tunings, minutes]
        )
    titles = {"last": "", "best": ", best", "kept": ", best θ"}
    shown = [f"{first.metric} {split}{titles[checkpoint]}" for split, checkpoint in keys]
    header = ["setting", "n", *shown, "seeds", "fine-tunings", "minutes"]
    return TextTable(setup, header, [[*map(str, row)] for row in body])


def _minutes(runs: RunGroup, results: Results) -> list[float]:
    """Of training, each seed's; OMP's with those of the dense run that its mask comes from."""
    minutes = {seed: score.minutes for seed, score in runs.scores().items()}
    if runs.first.method == "omp":
        (dense,) = results.groups(f"{runs.setup}_dense_seed{seed}" for seed in minutes)
        return [minutes[seed] + score.minutes for seed, score in dense.scores().items()]
    return list(minutes.values())


def _compared(results: Results, name: str) -> list[TextTable]:
    """Errors on each language or target and their average, a table for each group of setups."""
    tables = []
    for group, sides in samples(results, name).items():
        first = next(iter(sides.values()))
        rates = {side: [*one.rates.values()] for side, one in sides.items()}
        body = [
            [side, *(f"{rate:.1f}" for rate in (*values, mean(values)))]
            for side, values in rates.items()
        ]
        header = ["setting", *first.rates, "average"]
        tables.append(TextTable(f"{first.metric} on the test sets, {group}", header, body))
    return tables


# --- masks ----------------------------------------------------------------------------------


class MaskOf(NamedTuple):
    """What the name of a run says of its mask."""

    setup: str
    method: str
    sparsity: str
    options: str | None
    seed: str

    @classmethod
    def of(cls, run: str) -> MaskOf:
        """Parse "english_parp_p_0.9_seed1"."""
        found = re.fullmatch(r"([^_]+)_([a-z_]+)_([\d.]+)_(?:(.+)_)?seed(\d+)", run)
        if found is None:
            raise UserError(f"results/masks.csv: no run can be called {run!r}")
        return cls(*found.groups())

    @property
    def setting(self) -> str:
        """As claims name it."""
        return " ".join(filter(None, self[1:4]))


def comparisons(results: Results, name: str) -> dict[tuple[str, float], list[MaskPair]]:
    """(model, sparsity) → the pairs of masks that a target compares."""
    found: dict[tuple[str, float], list[MaskPair]] = {}
    for pair in results.masks:
        if pair.comparison == name:
            found.setdefault((pair.model, pair.sparsity), []).append(pair)
    # Sparsity by sparsity; the tiny English model before the others.
    return dict(sorted(found.items(), key=lambda item: (item[0][1], item[0][0] != "tiny")))


def _digits(value: float) -> str:
    """Four digits; a one only where the masks are the same."""
    return "1" if value == 1 else f"{min(value, 0.9999):.4f}"


def _overlap_tables(results: Results, name: str) -> list[TextTable]:
    """The matrix of each comparison."""
    tables = []
    for (model, sparsity), pairs in comparisons(results, name).items():
        iou = {(pair.one, pair.other): pair.iou for pair in pairs}
        iou.update({(other, one): value for (one, other), value in iou.items()})
        runs = dict.fromkeys(run for pair in pairs for run in (pair.one, pair.other))
        body = [[one, *(_digits(iou.get((one, other), 1.0)) for other in runs)] for one in runs]
        title = f"IOU, {model}, {percent(sparsity)}"
        tables.append(TextTable(title, ["mask", *runs], body))
    return tables
