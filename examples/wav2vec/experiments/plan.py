"""A plan: which fine-tunings each result takes, read from small.yaml or paper.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments import corpora
from parp_fairseq.config import shipped
from parp_fairseq.demo.languages import check_language
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.pruning.methods import method_named

HERE = Path(__file__).resolve().parents[1]
SCALES = ("small", "paper")
IMP = "imp"

# What is made of each stands in `kinds`.
KIND_NAMES = (
    *("rates", "effects", "views", "languages", "effort", "intervals"),
    *("transfer", "overlap", "first_mask"),
)
# Compare masks, and take no scores.
_OF_MASKS = ("overlap", "first_mask")
_WORLD_KEYS = {
    *("about", "config", "data", "speech", "model", "valid", "test", "each", "overrides"),
    *("size", "hours", "corpus"),
}
_SPEECH_KEYS = {"language", "languages", "seed", "per_speaker", "utterances"}
_MODEL_KEYS = {"languages", "speakers", "rounds", "seed"}
_RESULT_KEYS = {"title", "kind", "world", "worlds", "seeds", "cells", "paper", "claims"}
_CLAIM_KEYS = {"says", "fewer", "than", "why"}
_IOU_CLAIM_KEYS = {"says", "of", "and_of", "above", "worlds_differ"}
_CELL_KEYS = {"method", "sparsity", "options", "seeds", "trail", "worlds", "from"}
# Whose masks a cell's fine-tunings begin with: every world's of the same model, or all but its own.
_SOURCES = ("all", "others")
# What a claim of kind transfer compares: whose mask, and whether it is held or PARP's first one.
TRANSFER_GROUPS = tuple(
    f"{whose} {way}" for whose in ("own", "moved", "random") for way in ("held", "parp")
)


@dataclass(frozen=True)
class World:
    """A pre-trained model and the data it is fine-tuned on.

    Attributes:
        name: in the names of fine-tunings.
        about: a line for readers.
        config: a yaml file's name for fairseq-hydra-train.
        data: folder of the manifests; relative paths lie in the work folder.
        speech: settings of `parp_fairseq.demo.speech` where the data is synthetic, or, with
            `language` or `languages`, of `parp_fairseq.demo.commonvoice`; else None.
        corpus: settings of `experiments.corpora` where the data is a clone's; else None.
        model: `model.w2v_path`.
        valid: the set that is validated on.
        test: sets that are decoded at the end, beside `valid`.
        overrides: for every fine-tuning.
        group: its name in the yaml, without the language.
        language: which of the yaml's `each` it is, if any.
        recipe: how the workflow makes `model` where it is missing (`experiments.models`); None
            where it does not.
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
    group: str = ""
    language: str | None = None
    recipe: Mapping[str, Any] | None = field(default=None, hash=False)
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

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of a synthetic Common Voice; none: the demo's English, or data of yours."""
        speech = self.speech or {}
        return (speech["language"],) if "language" in speech else tuple(speech.get("languages", ()))


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
        source: the world whose OMP mask it begins with, held (method mask) or as PARP's first one.
    """

    world: World
    method: str
    sparsity: float
    seed: int
    options: tuple[tuple[str, Any], ...] = ()
    trail: tuple[int, int] | None = None
    source: World | None = None

    @property
    def name(self) -> str:
        """What its folder and its scores are called."""
        parts = [self.world.name, self.method]
        if self.method != "dense":
            parts.append(f"{self.sparsity:g}")
        parts += [f"{key.replace('_', '-')}{_plain(value)}" for key, value in self.options]
        if self.source is not None:
            parts.append(f"from-{self.source.name}")
        parts.append(f"seed{self.seed}")
        if self.trail:
            parts.append("trail")
        return "_".join(parts)

    @property
    def needs(self) -> FineTuning | None:
        """The dense fine-tuning that gives OMP's mask."""
        if self.given_mask is not None:
            return self.given_mask.needs
        if self.method != "omp":
            return None
        return FineTuning(self.world, "dense", 0.0, self.seed)

    @property
    def given_mask(self) -> FineTuning | None:
        """Whose mask it begins with, where that is another world's or PARP's own by OMP."""
        if self.source is None:
            return None
        return FineTuning(self.source, "omp", self.sparsity, self.seed)

    @property
    def gives_mask(self) -> FineTuning | None:
        """What must be trained for the mask that it ends with; None for MPI and RP."""
        if self.method in ("mpi", "rp"):
            return None
        return self.needs if self.method == "omp" else self

    @property
    def trainings(self) -> int:
        """Fine-tunings that it takes beside what it needs."""
        return round(self.sparsity * 10) + 1 if self.method == IMP else 1

    def option(self, key: str, default: Any = None) -> Any:
        """A key under `task.prune` by its name."""
        return dict(self.options).get(key, default)

    def settings(self) -> dict[str, Any]:
        """What decides its outcome, as plain values; a score under other settings is stale."""
        return {
            **_settings(self.world),
            "method": self.method,
            "sparsity": self.sparsity,
            "seed": self.seed,
            "options": dict(self.options),
            "trail": list(self.trail) if self.trail else None,
            "splits": list(self.world.splits),
            "source": _settings(self.source) if self.source else None,
        }


def _settings(world: World) -> dict[str, Any]:
    return {
        "world": world.name,
        "config": world.config,
        "model": Path(world.model).name,
        "recipe": dict(world.recipe) if world.recipe else None,
        "speech": dict(world.speech) if world.speech else None,
        "corpus": dict(world.corpus) if world.corpus else None,
        "overrides": list(world.overrides),
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
class IouClaim:
    """Every pair of masks of two settings has an IOU above a bound.

    Attributes:
        says: the claim in words.
        of: a setting, such as "omp 0.5".
        and_of: the other; the same one means pairs of it.
        above: the bound, in [0, 1].
        worlds_differ: ask pairs of different worlds alone.
    """

    says: str
    of: str
    and_of: str
    above: float
    worlds_differ: bool = False


@dataclass(frozen=True)
class Result:
    """A table or figure.

    Attributes:
        name: its folder beside the Snakefile, and its target.
        title: for readers.
        kind: how it is shown, one of those in `kinds`.
        fine_tunings: whose scores it is made from.
        masks: fine-tunings whose masks it compares.
        paper: setting ("parp 0.9") → the paper's numbers, as text.
        claims: what is asked of the numbers.
    """

    name: str
    title: str
    kind: str
    fine_tunings: tuple[FineTuning, ...]
    paper: Mapping[str, str] = field(default_factory=dict, hash=False)
    claims: tuple[Claim | IouClaim, ...] = ()
    masks: tuple[FineTuning, ...] = ()


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
        """All that may have to be trained: those, and what they and masks need."""
        found: dict[str, FineTuning] = {}
        for ft in self.scored.values():
            for one in (ft.needs, ft):
                if one is not None:
                    found.setdefault(one.name, one)
        for ft in self.masks.values():
            if ft.gives_mask is not None:
                found.setdefault(ft.gives_mask.name, ft.gives_mask)
        return found

    @property
    def masks(self) -> dict[str, FineTuning]:
        """The fine-tunings whose masks the results compare, by name."""
        return {ft.name: ft for result in self.results.values() for ft in result.masks}

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
    known = {"work", "models", "worlds", "results"}
    _check_keys(file.name, content, known, ("worlds", "results"))
    recipes = content.get("models") or {}
    for name, entry in recipes.items():
        place = f"{file.name}: models.{name}"
        _check_keys(place, entry, _MODEL_KEYS, ("languages",))
        _check_languages(place, entry["languages"])
    groups: dict[str, list[World]] = {}
    for name, entry in content["worlds"].items():
        groups[name] = list(_worlds(f"{file.name}: worlds.{name}", name, entry, recipes))
        groups.update({world.name: [world] for world in groups[name]})
    _check_speech(file.name, [world for group in groups.values() for world in group])
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


def _check_languages(where: str, languages: Iterable[str]) -> None:
    for language in languages:
        try:
            check_language(language)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


def _check_speech(file: str, worlds: Iterable[World]) -> None:
    """A language is spoken once: all worlds that hear it must say the same of it."""
    said: dict[str, tuple[str, Any]] = {}
    for world in worlds:
        for language in world.languages:
            rest = {key: value for key, value in world.speech.items() if "language" not in key}
            first, before = said.setdefault(language, (world.name, rest))
            if rest != before:
                raise UserError(
                    f"{file}: worlds {first} and {world.name} have {language} with different "
                    "speech; give both the same, or another language"
                )


def _speech(where: str, entry: Any, each: str | None) -> Mapping[str, Any] | None:
    """A world's settings of speech, in the language of its own."""
    speech = entry.get("speech")
    if not speech or not {"language", "languages"} & set(speech):
        return speech  # type: ignore[no-any-return]
    _check_keys(f"{where}.speech", speech, _SPEECH_KEYS, ())
    if "language" in speech:
        if "data" in entry:
            raise UserError(f"{where}: data does not go with speech.language; leave it out")
        if "languages" in speech:
            raise UserError(f"{where}.speech has language and languages; give one of them")
        speech = {**speech, "language": str(speech["language"]).format(each=each)}
        _check_languages(f"{where}.speech", [speech["language"]])
    else:
        _check_languages(f"{where}.speech", speech["languages"])
    return speech


def _worlds(where: str, name: str, entry: Any, recipes: Mapping[str, Any]) -> Iterable[World]:
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
        speech = _speech(where, entry, each)
        data = entry.get("data") or f"data/{own}/1h"
        if speech and "language" in speech:
            data = f"data/languages/{speech['language']}"
        yield World(
            name=own,
            about=str(entry.get("about", "")).format(each=each),
            config=entry["config"],
            data=str(data).format(each=each),
            model=str(entry["model"]),
            valid=str(entry["valid"]),
            test=tuple(entry["test"]),
            speech=speech,
            overrides=tuple(entry.get("overrides") or ()),
            group=name,
            language=each,
            recipe=recipes.get(entry["model"]),
            size=str(entry.get("size", "base")),
            hours=float(entry.get("hours", 1.0)),
            corpus=corpus,
        )


def _result(where: str, name: str, entry: Any, groups: Mapping[str, list[World]]) -> Result:
    _check_keys(where, entry, _RESULT_KEYS, ("title", "kind", "cells"))
    if entry["kind"] not in KIND_NAMES:
        raise UserError(f"{where}: kind {entry['kind']} is none of {', '.join(KIND_NAMES)}")
    chosen = _chosen(where, entry.get("worlds") or [entry.get("world")], groups)
    of_masks = entry["kind"] in _OF_MASKS
    found: dict[str, FineTuning] = {}
    for number, cell in enumerate(entry["cells"], start=1):
        place = f"{where}, cell {number}"
        _check_keys(place, cell, _CELL_KEYS, ("method",))
        if cell["method"] != IMP:
            with options_named("", f"{place}: "):
                method_named(cell["method"])
        if of_masks and cell["method"] == "dense":
            raise UserError(f"{place}: a dense model has no mask; compare masks of other methods")
        _check_source(place, cell)
        for world in _chosen(place, cell["worlds"], groups) if cell.get("worlds") else chosen:
            for source in _sources(world, cell.get("from"), chosen):
                for ft in _fine_tunings(world, cell, entry.get("seeds") or [1], source):
                    found[ft.name] = ft
    claims: list[Claim | IouClaim] = []
    for number, claim in enumerate(entry.get("claims") or [], start=1):
        place = f"{where}, claim {number}"
        if of_masks:
            _check_keys(place, claim, _IOU_CLAIM_KEYS, ("says", "of", "and_of", "above"))
            claims.append(IouClaim(**claim))
        else:
            _check_keys(place, claim, _CLAIM_KEYS, ("says", "fewer", "than"))
            _check_groups(place, entry["kind"], claim)
            claims.append(Claim(**claim))
    return Result(
        name,
        entry["title"],
        entry["kind"],
        () if of_masks else tuple(found.values()),
        entry.get("paper") or {},
        tuple(claims),
        tuple(found.values()) if of_masks else (),
    )


def _chosen(where: str, names: Iterable[Any], groups: Mapping[str, list[World]]) -> list[World]:
    """The worlds that are named, by their own names or by their groups'."""
    found = []
    for name in names:
        if name not in groups:
            raise UserError(f"{where}: there is no world {name}; use {', '.join(groups)}")
        found += groups[name]
    return found


def _check_groups(where: str, kind: str, claim: Mapping[str, Any]) -> None:
    """A claim about moved masks compares groups of runs."""
    for key in ("fewer", "than"):
        if kind == "transfer" and claim[key] not in TRANSFER_GROUPS:
            known = ", ".join(TRANSFER_GROUPS)
            raise UserError(f"{where}: {key} is {claim[key]}; use {known}")


def _check_source(where: str, cell: Mapping[str, Any]) -> None:
    """A given mask is held (method mask) or the first one of PARP."""
    asked = cell.get("from")
    if asked is None and cell["method"] == "mask":
        raise UserError(f"{where}: method mask lacks from; use {' or '.join(_SOURCES)}")
    if asked is not None and (asked not in _SOURCES or cell["method"] not in ("mask", "parp")):
        raise UserError(
            f"{where}: from is {asked}; method mask or parp takes {' or '.join(_SOURCES)}"
        )


def _sources(world: World, asked: str | None, chosen: Iterable[World]) -> list[World | None]:
    """Whose masks: None is its own method's. Masks fit the same pre-trained model alone."""
    if asked is None:
        return [None]
    same = [one for one in chosen if one.model == world.model]
    return [one for one in same if asked == "all" or one.name != world.name]


def _fine_tunings(
    world: World, cell: Mapping[str, Any], seeds: Iterable[int], source: World | None
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
                yield FineTuning(
                    world, cell["method"], float(sparsity), seed, options, trail, source
                )


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
