"""A plan: which fine-tunings each result takes, read from small.yaml or paper.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments import corpora
from parp_fairseq.config import shipped
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.pruning.methods import method_named

HERE = Path(__file__).resolve().parents[1]
SCALES = ("small", "paper")
IMP = "imp"

_KINDS = ("rates", "effects", "views")
_WORLD_KEYS = {
    *("about", "config", "data", "speech", "model", "valid", "test", "each", "overrides"),
    *("size", "hours", "corpus"),
}
_RESULT_KEYS = {"title", "kind", "world", "worlds", "seeds", "cells", "paper", "claims"}
_CLAIM_KEYS = {"says", "fewer", "than", "why"}
_CELL_KEYS = {"method", "sparsity", "options", "seeds", "trail"}


@dataclass(frozen=True)
class World:
    """A pre-trained model and the data it is fine-tuned on.

    Attributes:
        name: in the names of fine-tunings.
        about: a line for readers.
        config: a yaml file's name for fairseq-hydra-train.
        data: folder of the manifests; relative paths lie in the work folder.
        speech: settings of `parp_fairseq.demo.speech` where the data is synthetic; else None.
        corpus: settings of `experiments.corpora` where the data is a clone's; else None.
        model: `model.w2v_path`.
        valid: the set that is validated on.
        test: sets that are decoded at the end, beside `valid`.
        overrides: for every fine-tuning.
        size: of the model, for estimates: tiny, base or large.
        hours: of speech to train on, for estimates.
    """

    name: str
    about: str
    config: str
    data: str
    model: str
    valid: str
    test: tuple[str, ...]
    speech: Mapping[str, Any] | None = field(default=None, hash=False)
    overrides: tuple[str, ...] = ()
    size: str = "base"
    hours: float = 1.0
    corpus: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def made(self) -> bool:
        """Whether the workflow makes the manifests, in the work folder."""
        return self.speech is not None or self.corpus is not None

    @property
    def splits(self) -> tuple[str, ...]:
        """The sets to decode."""
        return (self.valid, *self.test)


@dataclass(frozen=True)
class FineTuning:
    """One fine-tuning, or a series of `parp imp`.

    Attributes:
        world: where.
        method: `task.prune.method`, or "imp".
        sparsity: in [0, 1].
        seed: `common.seed`.
        options: other keys under `task.prune`, with their values.
        trail: (first, every): keep checkpoints from update `first` on, every so many updates, to
            score θ as well; None: do not.
    """

    world: World
    method: str
    sparsity: float
    seed: int
    options: tuple[tuple[str, Any], ...] = ()
    trail: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What its folder and its scores are called."""
        parts = [self.world.name, self.method]
        if self.method != "dense":
            parts.append(f"{self.sparsity:g}")
        parts += [f"{key.replace('_', '-')}{_plain(value)}" for key, value in self.options]
        parts.append(f"seed{self.seed}")
        if self.trail:
            parts.append("trail")
        return "_".join(parts)

    @property
    def needs(self) -> FineTuning | None:
        """The dense fine-tuning that gives OMP's mask."""
        if self.method != "omp":
            return None
        return FineTuning(self.world, "dense", 0.0, self.seed)

    @property
    def trainings(self) -> int:
        """Fine-tunings that it takes beside what it needs."""
        return round(self.sparsity * 10) + 1 if self.method == IMP else 1

    def option(self, key: str, default: Any = None) -> Any:
        """A key under `task.prune` by its name."""
        return dict(self.options).get(key, default)

    def settings(self) -> dict[str, Any]:
        """What decides its outcome, as plain values; a score under other settings is stale."""
        world = self.world
        return {
            "world": world.name,
            "config": world.config,
            "model": Path(world.model).name,
            "speech": dict(world.speech) if world.speech else None,
            "corpus": dict(world.corpus) if world.corpus else None,
            "overrides": list(world.overrides),
            "method": self.method,
            "sparsity": self.sparsity,
            "seed": self.seed,
            "options": dict(self.options),
            "trail": list(self.trail) if self.trail else None,
            "splits": list(world.splits),
        }


@dataclass(frozen=True)
class Claim:
    """One setting makes fewer errors than another.

    Attributes:
        says: the claim in words.
        fewer: the setting that is said to make fewer errors, such as "parp 0.9".
        than: the other.
        why: the likely reason of what was found, where there is one.
    """

    says: str
    fewer: str
    than: str
    why: str = ""


@dataclass(frozen=True)
class Result:
    """A table or figure.

    Attributes:
        name: its folder beside the Snakefile, and its target.
        title: for readers.
        kind: how it is shown: rates, effects or views.
        fine_tunings: what it is made from.
        paper: setting ("parp 0.9") → the paper's numbers, as text.
        claims: what is asked of the numbers.
    """

    name: str
    title: str
    kind: str
    fine_tunings: tuple[FineTuning, ...]
    paper: Mapping[str, str] = field(default_factory=dict, hash=False)
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All results of a scale.

    Attributes:
        scale: the yaml's name.
        home: the folder of the yaml, the results and RESULTS.md.
        work: where data and checkpoints lie.
    """

    scale: str
    home: Path
    work: Path
    worlds: Mapping[str, World]
    results: Mapping[str, Result]

    @property
    def scored(self) -> dict[str, FineTuning]:
        """The fine-tunings whose scores the results take, by name, in the order of the results."""
        return {ft.name: ft for result in self.results.values() for ft in result.fine_tunings}

    @property
    def trained(self) -> dict[str, FineTuning]:
        """All that may have to be trained: those, and what they need."""
        found: dict[str, FineTuning] = {}
        for ft in self.scored.values():
            for one in (ft.needs, ft):
                if one is not None:
                    found.setdefault(one.name, one)
        return found

    @property
    def folder(self) -> Path:
        """Where scores are kept."""
        return self.home / "results" / self.scale

    def scores_file(self, name: str) -> Path:
        """The scores of a fine-tuning."""
        return self.folder / f"{name}.json"


def read_plans(home: str | Path = HERE) -> list[Plan]:
    """Read the plans of all scales that `home` has."""
    return [read_plan(scale, home) for scale in SCALES if Path(home, f"{scale}.yaml").is_file()]


def read_plan(scale: str, home: str | Path = HERE, work: str | Path | None = None) -> Plan:
    """Read `home/SCALE.yaml`.

    Args:
        scale: small or paper.
        home: where the file lies and results go.
        work: folder for data and checkpoints (default: what the file says); a relative one lies
            in `home`.

    Raises:
        UserError: there is no such file, or a key or value in it that has no meaning (named).
    """
    home = Path(home).absolute()
    file = home / f"{scale}.yaml"
    if not file.is_file():
        raise UserError(f"{file} is not there; the scales are {', '.join(SCALES)}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from error
    _check_keys(file.name, content, {"work", "worlds", "results"}, ("worlds", "results"))
    groups: dict[str, list[World]] = {}
    for name, entry in content["worlds"].items():
        groups[name] = list(_worlds(f"{file.name}: worlds.{name}", name, entry))
        groups.update({world.name: [world] for world in groups[name]})
    results = {}
    for name, entry in content["results"].items():
        results[name] = _result(f"{file.name}: results.{name}", name, entry, groups)
    place = Path(work if work is not None else content.get("work") or f"work/{scale}")
    return Plan(
        scale,
        home,
        home / place,
        {world.name: world for group in groups.values() for world in group},
        results,
    )


def _check_keys(where: str, entry: Any, known: set[str], wanted: Iterable[str]) -> None:
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} must hold keys and values")
    for key in entry:
        if key not in known:
            raise UserError(f"{where}: {key} has no meaning; use {', '.join(sorted(known))}")
    for key in wanted:
        if key not in entry:
            raise UserError(f"{where} lacks {key}")


def _worlds(where: str, name: str, entry: Any) -> Iterable[World]:
    _check_keys(where, entry, _WORLD_KEYS, ("config", "model", "valid", "test"))
    with options_named("", f"{where}: "):
        shipped.path_of(entry["config"])
    corpus = entry.get("corpus")
    if corpus is not None:
        if "speech" in entry:
            raise UserError(f"{where}: corpus and speech exclude each other; remove one")
        _check_keys(f"{where}.corpus", corpus, corpora.KEYS, ("name",))
        if corpus["name"] not in corpora.REPOSITORIES:
            known = ", ".join(corpora.REPOSITORIES)
            raise UserError(f"{where}.corpus: name is {corpus['name']}, none of {known}")
    for each in entry.get("each") or [None]:
        own = name if each is None else f"{name}-{each}"
        data = entry.get("data") or f"data/{own}/1h"
        yield World(
            name=own,
            about=str(entry.get("about", "")).format(each=each),
            config=entry["config"],
            data=str(data).format(each=each),
            model=str(entry["model"]),
            valid=str(entry["valid"]),
            test=tuple(entry["test"]),
            speech=entry.get("speech"),
            overrides=tuple(entry.get("overrides") or ()),
            size=str(entry.get("size", "base")),
            hours=float(entry.get("hours", 1.0)),
            corpus=corpus,
        )


def _result(where: str, name: str, entry: Any, groups: Mapping[str, list[World]]) -> Result:
    _check_keys(where, entry, _RESULT_KEYS, ("title", "kind", "cells"))
    if entry["kind"] not in _KINDS:
        raise UserError(f"{where}: kind {entry['kind']} is none of {', '.join(_KINDS)}")
    chosen = entry.get("worlds") or [entry.get("world")]
    for group in chosen:
        if group not in groups:
            raise UserError(f"{where}: there is no world {group}; use {', '.join(groups)}")
    found: dict[str, FineTuning] = {}
    for number, cell in enumerate(entry["cells"], start=1):
        place = f"{where}, cell {number}"
        _check_keys(place, cell, _CELL_KEYS, ("method",))
        if cell["method"] != IMP:
            with options_named("", f"{place}: "):
                method_named(cell["method"])
        for group in chosen:
            for world in groups[group]:
                for ft in _fine_tunings(world, cell, entry.get("seeds") or [1]):
                    found[ft.name] = ft
    claims = []
    for number, claim in enumerate(entry.get("claims") or [], start=1):
        _check_keys(f"{where}, claim {number}", claim, _CLAIM_KEYS, ("says", "fewer", "than"))
        claims.append(Claim(**claim))
    return Result(
        name,
        entry["title"],
        entry["kind"],
        tuple(found.values()),
        entry.get("paper") or {},
        tuple(claims),
    )


def _fine_tunings(
    world: World, cell: Mapping[str, Any], seeds: Iterable[int]
) -> Iterable[FineTuning]:
    sparsities = [0.0] if cell["method"] == "dense" else cell.get("sparsity") or [0.5]
    varied = [()]
    for key, values in (cell.get("options") or {}).items():
        values = values if isinstance(values, list) else [values]
        varied = [(*before, (key, value)) for before in varied for value in values]
    trail = tuple(cell["trail"]) if cell.get("trail") else None
    for sparsity in sparsities:
        for options in varied:
            for seed in cell.get("seeds") or seeds:
                yield FineTuning(world, cell["method"], float(sparsity), seed, options, trail)


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
