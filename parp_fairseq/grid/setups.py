"""A grid: setups (model, data, config) and targets, each a product of methods and seeds in them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from parp_fairseq.config import shipped
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.pruning.methods import method_named

IMP = "imp"
ANOTHER_SEED = "another_seed"
_SOURCES = ("all", "others", ANOTHER_SEED)
_OF_MODEL = ("mpi", "rp", "omp")
# The keys of each level of the yaml, first those that it must have.
_GRID = ("setups", "targets", "models")
_SETUP = ("config", "data", "model", "valid", "test", "overrides", "about", "speech", "corpus")
_TARGET = ("setups", "seeds", "runs", "masks")
_RUN = ("method", "sparsity", "options", "from", "seeds", "setups", "checkpoints")


@dataclass(frozen=True)
class Setup:
    """A pre-trained model and the data that it is fine-tuned on."""

    name: str  # begins the names of its runs
    config: str  # a yaml file's name for fairseq-hydra-train
    data: str  # folder of the manifests (`task.data`)
    model: str  # `model.w2v_path`
    valid: str  # the set for validation; it is decoded too
    test: tuple[str, ...]  # sets that are only decoded, at the end
    overrides: tuple[str, ...] = ()  # key=value, for every run
    gpus: int = 0  # of one training; 0: its config trains on a CPU
    about: str = ""  # a line for readers
    # settings of synthetic or recorded speech, where the data is that
    speech: Mapping[str, Any] | None = field(default=None, hash=False)
    corpus: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def splits(self) -> tuple[str, ...]:
        """The sets to decode."""
        return (self.valid, *self.test)

    @property
    def updates(self) -> int:
        """Updates of a fine-tuning, `optimization.max_update`."""
        key = "optimization.max_update="
        given = [one[len(key) :] for one in self.overrides if one.startswith(key)]
        return int(given[-1] if given else shipped.read(self.config)["optimization"]["max_update"])


@dataclass(frozen=True)
class Run:
    """One fine-tuning, or one series of `parp imp`."""

    setup: Setup  # its model and data
    method: str  # `task.prune.method`, or "imp"
    sparsity: float  # in [0, 1]
    seed: int  # `common.seed`
    # further keys under `task.prune` (for "imp" also `parp imp`'s own)
    options: tuple[tuple[str, Any], ...] = ()
    # (first, every): keep a checkpoint from update `first` on, every so many updates, and score
    # its θ too; (): do not
    checkpoints: tuple[int, ...] = ()
    source: Setup | None = None  # the setup whose OMP mask it starts from; None: its method's own
    source_seed: int = 0  # the seed of that mask's fine-tuning

    @property
    def source_name(self) -> str:
        """The setup that gives its mask, with the seed if that is another; "" for its own."""
        if self.source is None:
            return ""
        another = "" if self.source_seed == self.seed else f"-seed{self.source_seed}"
        return f"{self.source.name}{another}"

    @property
    def name(self) -> str:
        """Its folder's name: setup, method, sparsity, options, source of its mask, and seed."""
        parts = [self.setup.name, self.method]
        if self.method != "dense":
            parts.append(f"{self.sparsity:g}")
        parts += [f"{key.replace('_', '-')}{_plain(value)}" for key, value in self.options]
        parts += [f"from-{self.source_name}" if self.source else "", f"seed{self.seed}"]
        # The committed results call a run that keeps checkpoints so.
        parts.append("trail" if self.checkpoints else "")
        return "_".join(filter(None, parts))

    @property
    def given_mask(self) -> Run | None:
        """The OMP run whose mask it starts from; None where its method makes its own."""
        if self.source is None:
            return None
        return Run(self.source, "omp", self.sparsity, self.source_seed)

    @property
    def needs(self) -> Run | None:
        """The dense run that must be trained first: OMP's masks are its magnitudes."""
        if self.given_mask is not None:
            return self.given_mask.needs
        return Run(self.setup, "dense", 0.0, self.seed) if self.method == "omp" else None

    @property
    def trainings(self) -> int:
        """How many fine-tunings it is."""
        return round(self.sparsity * 10) + 1 if self.method == IMP else 1


@dataclass(frozen=True)
class Target:
    """What is made with one command."""

    name: str  # of a table or figure
    runs: tuple[Run, ...]  # whose scores it shows
    masks: tuple[Run, ...] = ()  # runs whose masks it compares


@dataclass(frozen=True)
class Grid:
    """All targets of a yaml file, and the models that it says how to pre-train."""

    name: str
    setups: Mapping[str, Setup]
    targets: Mapping[str, Target]
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    @cached_property
    def runs(self) -> dict[str, Run]:
        """The targets' runs by name, and before them what they and the masks need."""
        found: dict[str, Run] = {}
        for target in self.targets.values():
            masks = (run for run in target.masks if run.method not in _OF_MODEL)
            needed = (run.needs for run in (*target.runs, *target.masks))
            for run in (*needed, *target.runs, *masks):
                if run is not None:
                    found.setdefault(run.name, run)
        return found


def read_grid(file: str | Path, gpus: int = shipped.GPUS) -> Grid:
    """Read a grid.

    Args:
        file: the yaml file.
        gpus: of one training, where its config is for GPUs; its batch stays the same.

    Raises:
        UserError: there is no such file, or something in it is unknown or wrong (named).
    """
    file = Path(file)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from error
    _check(file.name, content, _GRID, 2)
    groups: dict[str, list[Setup]] = {}
    for name, entry in content["setups"].items():
        groups[name] = list(_setups(f"{file.name}: setups.{name}", name, entry, gpus))
        groups.update({setup.name: [setup] for setup in groups[name]})
    targets = {
        name: _target(f"{file.name}: targets.{name}", name, entry, groups)
        for name, entry in content["targets"].items()
    }
    setups = {setup.name: setup for group in groups.values() for setup in group}
    return Grid(file.stem, setups, targets, content.get("models") or {})


def _check(where: str, entry: Any, known: tuple[str, ...], required: int) -> None:
    """Raise UserError, naming the place, for unknown keys and where the first ones are missing."""
    if not isinstance(entry, dict):
        raise UserError(f"{where} must be keys and values (got {entry})")
    for key in entry:
        if key not in known:
            raise UserError(f"{where}: unknown key {key}; use {', '.join(known)}")
    for key in known[:required]:
        if not entry.get(key):
            raise UserError(f"{where} lacks {key}")


def _listed(entry: Mapping[str, Any], key: str, default: Any = ()) -> tuple[Any, ...]:
    """The values of a key; a single one counts as a list."""
    value = entry.get(key, default)
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _setups(where: str, name: str, entry: Any, gpus: int) -> Iterator[Setup]:
    _check(where, entry, (*_SETUP, "each"), 5)
    on_gpus = 0 if shipped.read(entry["config"])["common"].get("cpu") else gpus
    if on_gpus:
        shipped.overrides_for_gpus(entry["config"], on_gpus)
    for each in _listed(entry, "each", None):
        values = {key: entry[key] for key in _SETUP if key in entry}
        values = json.loads(json.dumps(values).replace("{each}", str(each)))
        values.update({key: _listed(values, key) for key in ("test", "overrides")})
        yield Setup(name if each is None else f"{name}-{each}", gpus=on_gpus, **values)


def _target(where: str, name: str, entry: Any, groups: Mapping[str, list[Setup]]) -> Target:
    _check(where, entry, _TARGET, 1)
    chosen = _chosen(where, _listed(entry, "setups"), groups)
    found: dict[str, dict[str, Run]] = {"runs": {}, "masks": {}}
    for kind, runs in found.items():
        for number, part in enumerate(entry.get(kind, ()), start=1):
            place = f"{where}.{kind}, entry {number}"
            _check(place, part, _RUN, 1)
            _check_source(place, part, kind)
            seeds = _listed(part, "seeds", _listed(entry, "seeds", 1))
            for setup in _chosen(place, _listed(part, "setups"), groups) or chosen:
                runs.update({run.name: run for run in _product(part, setup, chosen, seeds)})
    return Target(name, *(tuple(runs.values()) for runs in found.values()))


def _check_source(where: str, part: Mapping[str, Any], kind: str) -> None:
    method, source = part["method"], part.get("from")
    if method != IMP:
        with options_named("", f"{where}: "):
            method_named(method)
    allowed = method in ("mask", "parp") and source in _SOURCES
    if not allowed and (source is not None or method == "mask"):
        raise UserError(
            f"{where}: methods mask and parp take from: {', '.join(_SOURCES)} (got {source} for "
            f"{method})"
        )
    if not all(0 <= one <= 1 for one in _listed(part, "sparsity", 0.5)):
        raise UserError(f"{where}: sparsity must be in [0, 1] (got {part['sparsity']})")
    if kind == "masks" and method in _OF_MODEL and "options" in part:
        raise UserError(f"{where}: options are not supported for masks of {method}")


def _product(
    part: Mapping[str, Any], setup: Setup, chosen: Iterable[Setup], seeds: Iterable[int]
) -> Iterator[Run]:
    """Every run of an entry in one setup: sources of masks x sparsities x options x seeds."""
    another = part.get("from") == ANOTHER_SEED
    sources: list[Setup | None] = [setup if another else None]
    if part.get("from") in ("all", "others"):
        # Masks fit only the same pre-trained model.
        same = [one for one in chosen if one.model == setup.model]
        sources = [one for one in same if part["from"] == "all" or one.name != setup.name]
    given = part.get("options", {})
    choices = itertools.product(*([(key, one) for one in _listed(given, key)] for key in given))
    sparsities = (0.0,) if part["method"] == "dense" else _listed(part, "sparsity", 0.5)
    for source, sparsity, choice, seed in itertools.product(sources, sparsities, choices, seeds):
        yield Run(
            *(setup, part["method"], float(sparsity), seed, choice, _listed(part, "checkpoints")),
            source=source,
            source_seed=seed + another if source else 0,
        )


def _chosen(where: str, names: Iterable[str], groups: Mapping[str, list[Setup]]) -> list[Setup]:
    """The setups of these names, or of groups ("each") of these names."""
    for name in names:
        if name not in groups:
            raise UserError(f"{where}: there is no setup {name}; use {', '.join(groups)}")
    return [setup for name in names for setup in groups[name]]


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
