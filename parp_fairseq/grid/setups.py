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
# The keys of each level, and what their values are.
_GRID = {"setups": dict, "targets": dict, "models": dict}
_SETUP = {
    **dict.fromkeys(("about", "config", "data", "model", "valid"), str),
    **{"test": list, "overrides": list, "speech": dict, "corpus": dict},
}
_TARGET = {"setups": list, "seeds": list, "runs": list, "masks": list}
_RUN = {
    **{"method": str, "sparsity": list, "options": dict, "from": str, "seeds": list},
    **{"setups": list, "checkpoints": list},
}
_WORDS: dict[type, str] = {str: "text", list: "a list", dict: "keys and values"}


@dataclass(frozen=True)
class Setup:
    """A pre-trained model and the data that it is fine-tuned on.

    Attributes:
        name: begins the names of its runs.
        config: a yaml file's name for fairseq-hydra-train.
        data: folder of the manifests (`task.data`).
        model: `model.w2v_path`.
        valid: the set for validation; it is decoded too.
        test: sets that are only decoded, at the end.
        overrides: key=value, for every run.
        gpus: of one training; 0: its config trains on a CPU.
        about: a line for readers.
        speech, corpus: settings of synthetic or recorded speech, where the data is that.
    """

    name: str
    config: str
    data: str
    model: str
    valid: str
    test: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    gpus: int = 0
    about: str = ""
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
    """One fine-tuning, or one series of `parp imp`.

    Attributes:
        setup: its model and data.
        method: `task.prune.method`, or "imp".
        sparsity: in [0, 1].
        seed: `common.seed`.
        options: further keys under `task.prune` (for "imp" also `parp imp`'s own).
        checkpoints: (first, every): keep a checkpoint from update `first` on, every so many
            updates, and score its θ too; None: do not.
        source: the setup whose OMP mask it starts from; None: its method's own.
        source_seed: the seed of that mask's fine-tuning.
    """

    setup: Setup
    method: str
    sparsity: float
    seed: int
    options: tuple[tuple[str, Any], ...] = ()
    checkpoints: tuple[int, int] | None = None
    source: Setup | None = None
    source_seed: int = 0

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
    """What is made with one command.

    Attributes:
        name: of a table or figure.
        runs: whose scores it shows.
        masks: runs whose masks it compares.
    """

    name: str
    runs: tuple[Run, ...]
    masks: tuple[Run, ...] = ()


@dataclass(frozen=True)
class Grid:
    """All targets of a yaml file, and the models that it says how to pre-train."""

    name: str
    setups: Mapping[str, Setup]
    targets: Mapping[str, Target]
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    @cached_property
    def scored(self) -> dict[str, Run]:
        """The runs whose scores the targets show, by name."""
        return {run.name: run for target in self.targets.values() for run in target.runs}

    @cached_property
    def runs(self) -> dict[str, Run]:
        """These and all that they and the masks need, what is needed first."""
        found: dict[str, Run] = {}
        for target in self.targets.values():
            masks = (run for run in target.masks if run.method not in ("mpi", "rp", "omp"))
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
    _check(file.name, content, _GRID, ("setups", "targets"))
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


def _setups(where: str, name: str, entry: Any, gpus: int) -> Iterator[Setup]:
    _check(where, entry, {**_SETUP, "each": list}, ("config", "data", "model", "valid", "test"))
    on_gpus = 0 if shipped.read(entry["config"])["common"].get("cpu") else gpus
    if on_gpus:
        shipped.overrides_for_gpus(entry["config"], on_gpus)
    for each in entry.get("each") or [None]:
        values = {key: entry[key] for key in _SETUP if key in entry}
        values = json.loads(json.dumps(values).replace("{each}", str(each)))
        for key in ("test", "overrides"):
            values[key] = tuple(values.get(key, ()))
        yield Setup(name if each is None else f"{name}-{each}", gpus=on_gpus, **values)


def _target(where: str, name: str, entry: Any, groups: Mapping[str, list[Setup]]) -> Target:
    _check(where, entry, _TARGET, ("setups",))
    chosen = _chosen(where, entry["setups"], groups)
    found: dict[str, dict[str, Run]] = {"runs": {}, "masks": {}}
    for kind, runs in found.items():
        for number, part in enumerate(entry.get(kind) or [], start=1):
            place = f"{where}.{kind}, entry {number}"
            _check(place, part, _RUN, ("method",))
            _check_run(place, part, kind)
            for setup in _chosen(place, part["setups"], groups) if "setups" in part else chosen:
                for run in _product(part, setup, chosen, part.get("seeds", entry.get("seeds"))):
                    runs[run.name] = run
    return Target(name, *(tuple(runs.values()) for runs in found.values()))


def _check_run(where: str, part: Mapping[str, Any], kind: str) -> None:
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
    if kind == "masks" and method in ("mpi", "rp", "omp") and "options" in part:
        raise UserError(f"{where}: options are not supported for masks of {method}")
    if any(type(one) not in (int, float) or not 0 <= one <= 1 for one in part.get("sparsity", [])):
        raise UserError(f"{where}: sparsity must be numbers in [0, 1] (got {part['sparsity']})")
    first_every = part.get("checkpoints", [1, 1])
    if len(first_every) != 2 or not all(type(one) is int and one > 0 for one in first_every):
        raise UserError(f"{where}: checkpoints must be two updates: the first, and every how many")


def _product(
    part: Mapping[str, Any], setup: Setup, chosen: Iterable[Setup], seeds: Any
) -> Iterator[Run]:
    """Every run of an entry in one setup: sparsities x options x seeds x sources of masks."""
    sources: list[Setup | None] = [None]
    if part.get("from") == ANOTHER_SEED:
        sources = [setup]
    elif "from" in part:
        # Masks fit only the same pre-trained model.
        same = [one for one in chosen if one.model == setup.model]
        sources = [one for one in same if part["from"] == "all" or one.name != setup.name]
    options = [
        [(key, one) for one in (values if isinstance(values, list) else [values])]
        for key, values in (part.get("options") or {}).items()
    ]
    checkpoints = tuple(part["checkpoints"]) if "checkpoints" in part else None
    sparsities = [0.0] if part["method"] == "dense" else part.get("sparsity", [0.5])
    for source, sparsity in itertools.product(sources, sparsities):
        for choice, seed in itertools.product(itertools.product(*options), seeds or [1]):
            other = seed + 1 if part.get("from") == ANOTHER_SEED else seed
            yield Run(
                *(setup, part["method"], float(sparsity), seed, choice, checkpoints, source),
                source_seed=other if source else 0,
            )


def _chosen(where: str, names: Any, groups: Mapping[str, list[Setup]]) -> list[Setup]:
    """The setups of these names, or of groups ("each") of these names."""
    for name in names:
        if name not in groups:
            raise UserError(f"{where}: there is no setup {name}; use {', '.join(groups)}")
    return [setup for name in names for setup in groups[name]]


def _check(where: str, entry: Any, known: Mapping[str, type], required: Iterable[str]) -> None:
    """Raise UserError, naming place and key, for unknown and missing keys and other types."""
    if not isinstance(entry, dict):
        raise UserError(f"{where} must be keys and values (got {entry})")
    for key, value in entry.items():
        if key not in known:
            raise UserError(f"{where}: unknown key {key}; use {', '.join(known)}")
        if not isinstance(value, known[key]) or value in ([], ""):
            raise UserError(f"{where}: {key} must be {_WORDS[known[key]]} (got {value})")
    for key in required:
        if key not in entry:
            raise UserError(f"{where} lacks {key}")


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
