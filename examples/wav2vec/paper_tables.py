"""The tables of the paper's results, from results/scores.csv, results/masks.csv and claims.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from parp_fairseq.errors import UserError
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.report.rendering import TextTable
from parp_fairseq.report.run_table import percent
from parp_fairseq.report.statistics import (
    DESIGN,
    Effects,
    Estimate,
    design_effects,
)
from parp_fairseq.report.tidy import (
    SUBNETWORK,
    THETA,
    MaskPair,
    Score,
    read_mask_pairs,
    read_scores,
)

HERE = Path(__file__).resolve().parent
INTERVAL = 25  # task.prune.interval where a run does not name one
NEVER = "never"
WAYS = {"static": "static mask", "parp": "PARP"}
RANDOM, ANOTHER_SEED = "random (RP)", "own, another seed"
CHANCE = "independent random masks"


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

    @property
    def title(self) -> str:
        """Method, source of the mask and options."""
        title = method_title(self.first.method)
        if self.first.source:
            title += f" {self.setting[self.setting.index('from ') :].replace(' trail', '')}"
        extra = (f"{key} {value}" for key, value in self.first.option_values.items())
        return ", ".join([title, *extra])

    @property
    def start(self) -> list[str]:
        """Title and sparsity, the first columns of tables."""
        return [self.title, percent(self.first.sparsity)]

    @property
    def metric(self) -> str:
        """WER or PER."""
        return self.first.metric

    @property
    def updates(self) -> int:
        """Of a training."""
        return max(score.update for scores in self.by_seed.values() for score in scores.values())

    @property
    def fine_tunings(self) -> int:
        """From the pre-trained model on, the one that OMP's mask comes from included."""
        return self.first.trainings + (self.first.method == "omp" or bool(self.first.source))

    def scores(self, split: str, checkpoint: str = "last") -> dict[int, Score]:
        """Seed → score."""
        return {seed: scores[split, checkpoint] for seed, scores in sorted(self.by_seed.items())}

    def rates(self, split: str | None = None, checkpoint: str = "last") -> dict[int, float]:
        """Seed → errors in percent; of the first test set without `split`."""
        found = self.scores(split or self.splits[1], checkpoint)
        return {seed: score.rate for seed, score in found.items()}

    def intervals(self) -> list[tuple[float, float]]:
        """The bootstrap interval over utterances of each seed, on the first test set."""
        return [(one.rate_low, one.rate_high) for one in self.scores(self.splits[1]).values()]

    def shown(self, split: str, checkpoint: str = "last") -> str:
        """Mean errors over seeds with their interval."""
        return Estimate.of(list(self.rates(split, checkpoint).values())).shown()


class Results:
    """The tidy tables and the targets of claims.yaml.

    Raises:
        UserError: a file is missing or damaged, or a target names a run that no table has.
    """

    def __init__(self, home: Path = HERE) -> None:
        """Read everything below `home`."""
        scores = read_scores(home / "results" / "scores.csv")
        self.masks = read_mask_pairs(home / "results" / "masks.csv")
        self.targets: dict[str, dict[str, Any]] = yaml.safe_load(
            (home / "claims.yaml").read_text(encoding="utf-8")
        )
        self.by_setting: dict[tuple[str, str], dict[int, dict[tuple[str, str], Score]]] = {}
        for score in scores:
            seeds = self.by_setting.setdefault((score.setup, score.setting), {})
            key = (score.split, score.checkpoint)
            if score.checkpoint.startswith("update"):
                key = (score.weights, score.checkpoint)
            seeds.setdefault(score.seed, {})[key] = score

    def run_group(
        self, setup: str, setting: str, seeds: Iterable[int] | None = None
    ) -> RunGroup | None:
        """The runs of a setting; None where there are none (of these seeds)."""
        found = self.by_setting.get((setup, setting), {})
        chosen = {seed: found[seed] for seed in found if seeds is None or seed in seeds}
        return RunGroup(setup, setting, chosen) if chosen else None

    def target(self, name: str) -> dict[str, Any]:
        """What claims.yaml says of a target."""
        if name not in self.targets:
            raise UserError(f"no target {name!r}; choose from {', '.join(self.targets)}")
        return self.targets[name]

    def run_groups(self, name: str) -> dict[str, list[RunGroup]]:
        """Setup → its runs in the order of claims.yaml."""
        target, found = self.target(name), {}
        rows = target.get("rows")
        for setup in target["setups"]:
            settings = rows or [setting for one, setting in self.by_setting if one == setup]
            only = target.get("seeds_of", {}).get(setup, {})
            groups = [
                self.run_group(setup, one, only.get(one, target.get("seeds"))) for one in settings
            ]
            found[setup] = [runs for runs in groups if runs is not None]
        for setting in rows or ():
            if not any(runs.setting == setting for groups in found.values() for runs in groups):
                raise UserError(f"claims.yaml: {name}: no run {setting!r} in results/scores.csv")
        return found


def method_title(method: str) -> str:
    """What a method is called, IMP included."""
    return METHODS[method].title if method in METHODS else method.upper()


def words(setting: str) -> str:
    """A setting in words: "parp 0.7 interval=5" as "PARP 70%, interval 5"."""
    method, _, rest = setting.partition(" ")
    sparsity, _, options = rest.partition(" ")
    text = f"{method_title(method)} {percent(float(sparsity))}" if sparsity else method
    source = re.search(r"from (.*)", options)
    options = options[: source.start()] if source else options
    if source:
        text = text.replace("given mask", "OMP") + f" with the mask of {source[1]}"
    return ", ".join([text, *(part.replace("=", " ") for part in options.split())])


# --- tables ---------------------------------------------------------------------------------


def rates_tables(results: Results, name: str) -> list[TextTable]:
    """Errors on every split, a table for each setup."""
    tables = []
    for setup, groups in results.run_groups(name).items():
        splits = groups[0].splits
        body = []
        for runs in groups:
            row = [*runs.start, *map(runs.shown, splits)]
            body.append([*row, str(len(runs.by_seed)), str(runs.fine_tunings)])
        rates = (f"{groups[0].metric} {split}" for split in splits)
        header = ["method", "sparsity", *rates, "seeds", "fine-tunings"]
        tables.append(TextTable(setup, header, body))
    return tables


def design_of(runs: RunGroup) -> str | None:
    """Which part of the two by two design it is; None for GMP's own cubic ramp."""
    method = METHODS[runs.first.method]
    if method.ramps and runs.first.option_values.get("schedule", method.schedule) != "linear":
        return None
    return DESIGN[2 * method.ramps + (not method.static)]


def effects_by_sparsity(groups: Sequence[RunGroup]) -> dict[float, Effects | None]:
    """The effects of a design at each of its sparsities."""
    found: dict[float, dict[str, dict[int, float]]] = {}
    for runs in groups:
        place = design_of(runs)
        if place is not None:
            found.setdefault(runs.first.sparsity, {})[place] = runs.rates()
    return {sparsity: design_effects(rates) for sparsity, rates in sorted(found.items())}


def effects_tables(results: Results, name: str) -> list[TextTable]:
    """The two by two design, and its effects."""
    ((_, groups),) = results.run_groups(name).items()
    metric, split = groups[0].metric, groups[0].splits[1]
    body, effects = [], []
    for runs in groups:
        design = design_of(runs) or "ramp (cubic), static"
        body.append([*runs.start, design, runs.shown(split), str(len(runs.by_seed))])
    for sparsity, one in effects_by_sparsity(groups).items():
        if one is not None:
            values = (one.regrowth, one.schedule, one.interaction)
            row = [percent(sparsity), *(value.shown(signed=True) for value in values)]
            effects.append([*row, str(one.regrowth.count)])
    header = ["method", "sparsity", "design", f"{metric} {split}", "seeds"]
    titles = ["regrowth (dynamic - static)", "schedule (ramp - constant)", "interaction"]
    return [
        TextTable(f"{metric} on {split}", header, body),
        TextTable(f"effects on {metric}, points", ["sparsity", *titles, "seeds"], effects),
    ]


def theta_tables(results: Results, name: str) -> list[TextTable]:
    """Errors of m⊙θ, and of the θ that the paper's scripts keep; then both over the updates."""
    ((_, groups),) = results.run_groups(name).items()
    metric, (valid, split, *_) = groups[0].metric, groups[0].splits
    body, course = [], []
    for runs in groups:
        kept = list(runs.scores(split, "kept").values())
        row = [method_title(runs.first.method), percent(runs.first.sparsity)]
        row += [str(runs.first.option_values["interval"])]
        row += [runs.shown(split, which) for which in ("last", "best", "kept")]
        row += [", ".join(str(score.update) for score in kept)]
        row += [percent(sum(score.zeros or 0.0 for score in kept) / len(kept))]
        body.append([*row, str(len(runs.by_seed))])
        for seed, scores in runs.by_seed.items():
            for (weights, checkpoint), score in scores.items():
                if checkpoint.startswith("update") and weights == THETA:
                    other = scores[SUBNETWORK, checkpoint].rate
                    row = [words(runs.setting), str(seed), str(score.update)]
                    course.append([*row, f"{other:.1f}", f"{score.rate:.1f}"])
    header = ["method", "sparsity", "n", "m⊙θ, last", "m⊙θ, best", "θ, kept"]
    header += ["kept at update", "zeros in θ kept", "seeds"]
    title = f"{metric} on {valid} in training"
    return [
        TextTable(f"{metric} on {split}", header, body),
        TextTable(title, ["run", "seed", "update", "m⊙θ", "θ"], course),
    ]


def interval_of(runs: RunGroup) -> str:
    """n, the updates between two prunings; "-" where the mask is static, or "never"."""
    method = METHODS.get(runs.first.method)
    if method is None or method.first is None or (method.static and not method.ramps):
        return "-"
    n = int(runs.first.option_values.get("interval", INTERVAL))
    return NEVER if n >= runs.updates else str(n)


def interval_tables(results: Results, name: str) -> list[TextTable]:
    """Errors by n."""
    ((setup, groups),) = results.run_groups(name).items()
    methods = list(dict.fromkeys(runs.first.method for runs in groups))

    def order(runs: RunGroup) -> tuple[int, float, int]:
        n = interval_of(runs)
        number = runs.updates if n == NEVER else 0 if n == "-" else int(n)
        return methods.index(runs.first.method), runs.first.sparsity, number

    body = []
    for runs in sorted(groups, key=order):
        n = interval_of(runs)
        prunings = {"dense": "0"}.get(runs.first.method, "1") if n == "-" else "2"
        if n not in ("-", NEVER):
            prunings = str(1 + -(-runs.updates // int(n)))
        row = [method_title(runs.first.method), percent(runs.first.sparsity), n, prunings]
        body.append([*row, *map(runs.shown, runs.splits), str(len(runs.by_seed))])
    rates = (f"{groups[0].metric} {split}" for split in groups[0].splits)
    return [TextTable(setup, ["method", "sparsity", "n", "prunings", *rates, "seeds"], body)]


def effort_tables(results: Results, name: str) -> list[TextTable]:
    """Fine-tunings, minutes of training and errors."""
    ((setup, groups),) = results.run_groups(name).items()
    split, body = groups[0].splits[1], []
    for runs in groups:
        scores = runs.scores(split)
        times = [score.minutes for score in scores.values()]
        if runs.first.method == "omp":
            dense = {seed: results.run_group(setup, "dense", [seed]) for seed in scores}
            times = [score.minutes + dense[seed].first.minutes for seed, score in scores.items()]
        found = (re.search(r"load ([\d.]+)", score.machine) for score in scores.values())
        loads = [float(load[1]) for load in found if load]
        shown = f"{min(loads):.0f} to {max(loads):.0f}" if loads else "-"
        row = [*runs.start, str(runs.fine_tunings), f"{min(times):.1f}", f"{max(times):.1f}"]
        body.append([*row, shown, runs.shown(split), str(len(times))])
    header = ["method", "sparsity", "fine-tunings", "minutes, quickest seed", "slowest"]
    header += ["load of the machine", f"{groups[0].metric} {split}", "seeds"]
    return [TextTable(setup, header, body)]


def by_language(results: Results, name: str) -> dict[str, dict[str, dict[str, RunGroup | Any]]]:
    """Group of setups → setting → language → (runs, test set)."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for setup, groups in results.run_groups(name).items():
        for runs in groups:
            tests = runs.splits[1:]
            group = setup if len(tests) > 1 else setup.rpartition("-")[0]
            for split in tests:
                language = split.partition("-")[2] or setup.rpartition("-")[2]
                row = found.setdefault(group, {}).setdefault(runs.setting, {})
                row[language] = (runs, runs.rates(split))
    return found


def language_tables(results: Results, name: str) -> list[TextTable]:
    """Errors of each language and their average, a table for each group of setups."""
    tables = []
    for group, rows in by_language(results, name).items():
        body = []
        for row in rows.values():
            runs = next(iter(row.values()))[0]
            rates = [sum(found.values()) / len(found) for _, found in row.values()]
            shown = (f"{rate:.1f}" for rate in (*rates, sum(rates) / len(rates)))
            body.append([*runs.start, *shown, str(min(len(found) for _, found in row.values()))])
        header = ["method", "sparsity", *next(iter(rows.values())), "average", "seeds"]
        tables.append(TextTable(f"{runs.metric} on the test sets, {group}", header, body))
    return tables


@dataclass(frozen=True)
class Transfer:
    """Masks moved between setups of one model: (way, source, target) → seed → errors."""

    model: str
    metric: str
    targets: tuple[str, ...]
    rates: Mapping[tuple[str, str, str], Mapping[int, float]]

    @property
    def sources(self) -> list[str]:
        """Whose masks, a row each."""
        return [*self.targets, ANOTHER_SEED, RANDOM]

    def mean(self, way: str, source: str, target: str) -> float:
        """Errors, the mean over seeds."""
        found = self.rates[way, source, target].values()
        return sum(found) / len(found)

    def change(self, way: str, source: str, target: str) -> float:
        """Errors over those with the target's own mask, less 1, in percent; positive is worse."""
        return 100 * (self.mean(way, source, target) / self.mean(way, target, target) - 1)

    def group(self, name: str) -> dict[tuple[str, int], float]:
        """Errors by target and seed with masks of a kind, such as "other_languages static"."""
        whose, way = name.split()
        found = {}
        for target in self.targets:
            sources = {
                "own": [target],
                "another_seed": [ANOTHER_SEED],
                "other_languages": [one for one in self.targets if one != target],
                "random": [RANDOM],
            }[whose]
            runs = [self.rates.get((way, source, target), {}) for source in sources]
            for seed in set.intersection(*map(set, runs)):
                found[target, seed] = sum(run[seed] for run in runs) / len(runs)
        return found


def transfers(results: Results, name: str) -> list[Transfer]:
    """The matrices of a target, one for each pre-trained model."""
    found: dict[str, tuple[list[str], dict[tuple[str, str, str], dict[int, float]]]] = {}
    seeds, sparsity = results.target(name)["seeds"], results.target(name)["sparsity"]
    for setup, groups in results.run_groups(name).items():
        targets, rates = found.setdefault(Path(groups[0].first.model).stem, ([], {}))
        targets.append(setup)
        for runs in groups:
            first = runs.first
            if first.sparsity != sparsity:
                continue
            way, source = "static" if METHODS[first.method].static else "parp", None
            if first.method == "omp":
                source = setup
            elif first.source:
                source = ANOTHER_SEED if "another seed" in runs.setting else first.source
            elif first.method == "rp" or first.option_values.get("initial") == "random":
                source = RANDOM
            if source is not None:
                chosen = {seed: rate for seed, rate in runs.rates().items() if seed in seeds}
                rates[way, source, setup] = chosen
    return [
        Transfer(model, groups[0].metric, tuple(names), rates)
        for model, (names, rates) in found.items()
    ]


def transfer_tables(results: Results, name: str) -> list[TextTable]:
    """Errors, and their change against the target's own mask."""
    tables = []
    for one in transfers(results, name):
        about = f"{one.model}, {percent(results.target(name)['sparsity'])}"
        header = ["mask of", *one.targets]
        for way, title in WAYS.items():
            rates, changes = [], []
            for source in one.sources:
                means = (one.mean(way, source, target) for target in one.targets)
                rates.append([source, *(f"{mean:.1f}" for mean in means)])
                found = (one.change(way, source, target) for target in one.targets)
                changes.append([source, *map(signed, found)])
            moved = (
                [one.change(way, other, target) for other in one.targets if other != target]
                for target in one.targets
            )
            changes.append(["mean of the others'", *(signed(sum(c) / len(c)) for c in moved)])
            change = f"change against the own mask, %, {title}, {about}"
            rate = f"{one.metric} on the test set, {title}, {about}"
            tables += [TextTable(rate, header, rates), TextTable(change, header, changes)]
    return tables


def signed(value: float) -> str:
    """One decimal and a sign; nothing is +0.0."""
    return f"{round(value, 1) + 0.0:+.1f}"


# --- masks ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskOf:
    """What the name of a run says of its mask."""

    setup: str
    setting: str
    seed: int

    @classmethod
    def of(cls, run: str) -> MaskOf:
        """Parse "english_parp_p_0.9_seed1"."""
        found = re.fullmatch(r"([^_]+)_([a-z_]+)_([\d.]+)_(?:(.+)_)?seed(\d+)", run)
        if found is None:
            raise UserError(f"results/masks.csv: no run can be called {run!r}")
        setup, method, sparsity, options, seed = found.groups()
        return cls(setup, f"{method} {sparsity}" + (f" {options}" if options else ""), int(seed))

    @property
    def method(self) -> str:
        """Of the run."""
        return self.setting.split()[0]

    @property
    def title(self) -> str:
        """The method, and options."""
        options = self.setting.split()[2:]
        shown = (re.sub(r"([a-z])([\d.]+|linear)$", r"\1 \2", one) for one in options)
        return ", ".join([method_title(self.method), *(one.replace("-", "_") for one in shown)])

    @property
    def label(self) -> str:
        """In a matrix; MPI's mask is the same in all setups of a model."""
        return self.title if self.method == "mpi" else f"{self.setup} {self.title} seed {self.seed}"


def comparisons(results: Results, name: str) -> dict[tuple[str, float], list[MaskPair]]:
    """(model, sparsity) → the pairs of masks that a target compares."""
    found: dict[tuple[str, float], list[MaskPair]] = {}
    for pair in results.masks:
        if pair.comparison == name:
            found.setdefault((pair.model, pair.sparsity), []).append(pair)
    # Models in the order of the setups that begin with them, sparsity by sparsity.
    return dict(sorted(found.items(), key=lambda item: (item[0][1], item[0][0] != "tiny")))


def chance(sparsity: float) -> float:
    """IOU to expect of two independent random masks: (1 - s)² of 1 - s²."""
    return (1 - sparsity) / (1 + sparsity)


def digits(value: float) -> str:
    """Four digits; a one only where the masks are the same."""
    return "1" if value == 1 else f"{min(value, 0.9999):.4f}"


def overlap_tables(results: Results, name: str) -> list[TextTable]:
    """The matrix of each comparison, and the pairs summed up."""
    tables, summary = [], []
    for (model, sparsity), pairs in comparisons(results, name).items():
        runs = list(dict.fromkeys(run for pair in pairs for run in (pair.one, pair.other)))
        iou = {(pair.one, pair.other): pair.iou for pair in pairs}
        iou.update({(other, one): value for (one, other), value in iou.items()})
        labels = [MaskOf.of(run).label for run in runs]
        body = [
            [label, *(digits(iou.get((run, other), 1.0)) for other in runs)]
            for label, run in zip(labels, runs)
        ]
        tables.append(TextTable(f"IOU, {model}, {percent(sparsity)}", ["mask", *labels], body))
        groups: dict[str, list[float]] = {}
        for pair in pairs:
            between = relation(MaskOf.of(pair.one), MaskOf.of(pair.other))
            groups.setdefault(between, []).append(pair.iou)
        for between, values in groups.items():
            numbers = [str(len(values)), digits(sum(values) / len(values)), digits(min(values))]
            summary.append([model, percent(sparsity), between, *numbers])
        summary.append([model, percent(sparsity), CHANCE, "-", digits(chance(sparsity)), "-"])
    header = ["model", "sparsity", "between", "pairs", "mean IOU", "lowest IOU"]
    return [*tables, TextTable("pairs", header, summary, 3)]


def relation(one: MaskOf, other: MaskOf) -> str:
    """How two masks are related, for summing up."""
    if {one.method, other.method} & {"mpi", "rp"}:
        return f"{one.title} and {other.title}"
    differ = ["setup"] if one.setup != other.setup else []
    differ += ["seed"] if one.seed != other.seed else []
    where = f"another {' and '.join(differ)}" if differ else "the same seed"
    return f"{' and '.join(dict.fromkeys([one.title, other.title]))}, {where}"


TABLES: dict[str, Callable[[Results, str], list[TextTable]]] = {
    "rates": rates_tables,
    "effects": effects_tables,
    "theta": theta_tables,
    "intervals": interval_tables,
    "effort": effort_tables,
    "languages": language_tables,
    "transfer": transfer_tables,
    "overlap": overlap_tables,
}
"""By a target's `kind`."""
