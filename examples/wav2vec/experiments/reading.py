"""Read a plan from small.yaml or paper.yaml; a key or value without meaning is refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from experiments.checking import check_keys, check_named, check_names, check_values
from experiments.corpora import KEYS as CORPUS_KEYS
from experiments.corpora import REPOSITORIES
from experiments.plan import (
    HERE,
    IMP,
    KIND_NAMES,
    NOT_ASKED,
    PAPER_SAYS,
    SCALES,
    TRANSFER_GROUPS,
    Claim,
    FineTuning,
    IouClaim,
    Plan,
    Result,
    World,
)
from parp_fairseq.config import shipped
from parp_fairseq.demo.languages import check_language
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.pruning.methods import METHODS, method_named
from parp_fairseq.report.statistics import DESIGN

# Compare masks, and take no scores.
_OF_MASKS = ("overlap", "initial_mask")
_OF_ONE_WORLD = ("effects", "views")
_WORLD_KEYS = {
    *("about", "config", "data", "speech", "model", "valid", "test", "each", "overrides"),
    *("size", "hours", "corpus"),
}
_SPEECH_KEYS = {"language", "languages", "seed", "per_speaker", "utterances"}
_MODEL_KEYS = {"languages", "speakers", "audio", "width", "rounds", "updates", "seed"}
_RESULT_KEYS = {"title", "kind", "world", "worlds", "seeds", "cells", "paper", "claims"}
_CLAIM_KEYS = {"says", "fewer", "than", "why", "paper", "worlds"}
_IOU_CLAIM_KEYS = {"says", "of", "and_of", "above", "worlds_differ", "why", "paper"}
OPTIONS = {
    *("initial_sparsity", "rise", "stages", "initial", "interval", "interval_unit", "schedule"),
    *("granularity", "include", "exclude", "biases", "seed", "rewind_update", "round_updates"),
}
"""Of a cell: those under `task.prune`, and parp imp's own."""
_CELL_KEYS = {"method", "sparsity", "options", "seeds", "trail", "worlds", "from"}
# Whose masks a cell's fine-tunings begin with: every world's of the same model, all but its own, or
# its own by the next seed.
_ANOTHER_SEED = "another_seed"
_SOURCES = ("all", "others", _ANOTHER_SEED)


def read_plans(home: str | Path = HERE) -> list[Plan]:
    """Read the plans of all scales that `home` has."""
    return [read_plan(scale, home) for scale in SCALES if Path(home, f"{scale}.yaml").is_file()]


def read_plan(
    scale: str,
    home: str | Path = HERE,
    work: str | Path | None = None,
    gpus: int = shipped.GPUS,
    devices: Iterable[str] = (),
) -> Plan:
    """Read `home/SCALE.yaml`.

    Args:
        scale: small or paper.
        home: where the file lies and results go.
        work: folder for data and checkpoints (default: what the file says); a relative one lies
            in `home`.
        gpus: of one training, where its config is for GPUs; its batch stays the same.
        devices: see `Plan.devices`.

    Raises:
        UserError: there is no such file, or a key or value in it that has no meaning (named); or a
            batch does not divide by `gpus`, or there are fewer `devices`.
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
    check_keys(file.name, content, known, ("worlds", "results"))
    content = {"work": f"work/{scale}", "models": {}, **content}
    check_values(file.name, {"work": content["work"]})
    for key in ("models", "worlds", "results"):
        check_names(f"{file.name}: {key}", content[key])
    recipes = content["models"]
    for name, entry in recipes.items():
        place = f"{file.name}: models.{name}"
        check_keys(place, entry, _MODEL_KEYS, ())
        check_values(place, entry)
        if ("languages" in entry) == ("audio" in entry):
            raise UserError(f"{place} takes languages or audio, one of them")
        _check_languages(place, entry.get("languages", ()))
        for folder in entry.get("audio", ()):
            check_named(place, {"audio": str(folder).split("/")[0]}, ("audio",), REPOSITORIES)
    groups: dict[str, list[World]] = {}
    for name, entry in content["worlds"].items():
        groups[name] = list(_worlds(f"{file.name}: worlds.{name}", name, entry, recipes, gpus))
        groups.update({world.name: [world] for world in groups[name]})
    _check_speech(file.name, [world for group in groups.values() for world in group])
    results = {}
    for name, entry in content["results"].items():
        results[name] = _result(f"{file.name}: results.{name}", name, entry, groups)
    devices = tuple(devices)
    needed = max((world.gpus for group in groups.values() for world in group), default=0)
    if devices and len(devices) < needed:
        raise UserError(f"a training takes {needed} GPUs, and devices names {len(devices)}")
    place = Path(work if work is not None else content["work"])
    return Plan(
        scale,
        home,
        home / place,
        {world.name: world for group in groups.values() for world in group},
        results,
        devices,
    )


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
    speech: Mapping[str, Any] | None = entry.get("speech")
    if speech is None:
        return None
    check_keys(f"{where}.speech", speech, _SPEECH_KEYS, ())
    check_values(f"{where}.speech", speech)
    if not {"language", "languages"} & set(speech):
        return speech
    if "language" in speech:
        if "data" in entry:
            raise UserError(f"{where}: data does not go with speech.language; leave it out")
        if "languages" in speech:
            raise UserError(f"{where}.speech has language and languages; give one of them")
        speech = {**speech, "language": _filled(speech["language"], each)}
        _check_languages(f"{where}.speech", [speech["language"]])
    else:
        _check_languages(f"{where}.speech", speech["languages"])
    return speech


def _filled(text: str, each: str | None) -> str:
    """A world's own text, of the text of its group."""
    return text.replace("{each}", str(each))


def _worlds(
    where: str, name: str, entry: Any, recipes: Mapping[str, Any], gpus: int
) -> Iterable[World]:
    check_keys(where, entry, _WORLD_KEYS, ("config", "model", "valid", "test"))
    check_values(where, entry)
    with options_named("", f"{where}: "):
        config = shipped.read(entry["config"])
    on_gpus = 0 if config["common"].get("cpu") else gpus
    if on_gpus:
        shipped.overrides_for_gpus(entry["config"], on_gpus)
    corpus = entry.get("corpus")
    if corpus is not None:
        if "speech" in entry:
            raise UserError(f"{where}: corpus and speech exclude each other; remove one")
        check_keys(f"{where}.corpus", corpus, CORPUS_KEYS, ("name",))
        check_named(f"{where}.corpus", corpus, ("name",), REPOSITORIES)
        check_values(f"{where}.corpus", corpus)
    for each in entry.get("each") or [None]:
        own = name if each is None else f"{name}-{each}"
        speech = _speech(where, entry, each)
        data = entry.get("data") or f"data/{own}/1h"
        if speech and "language" in speech:
            data = f"data/languages/{speech['language']}"
        yield World(
            name=own,
            about=_filled(entry.get("about", ""), each),
            config=entry["config"],
            data=_filled(data, each),
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
            gpus=on_gpus,
        )


def _result(where: str, name: str, entry: Any, groups: Mapping[str, list[World]]) -> Result:
    check_keys(where, entry, _RESULT_KEYS, ("title", "kind", "cells"))
    check_values(where, entry)
    check_names(f"{where}.paper", entry.get("paper", {}))
    if ("world" in entry) == ("worlds" in entry):
        raise UserError(f"{where} takes world or worlds, one of them")
    if entry["kind"] not in KIND_NAMES:
        raise UserError(f"{where}: kind {entry['kind']} is none of {', '.join(KIND_NAMES)}")
    chosen = _chosen(where, entry.get("worlds") or [entry.get("world")], groups)
    of_masks = entry["kind"] in _OF_MASKS
    found: dict[str, FineTuning] = {}
    for number, cell in enumerate(entry["cells"], start=1):
        place = f"{where}, cell {number}"
        check_keys(place, cell, _CELL_KEYS, ("method",))
        check_values(place, cell)
        check_keys(f"{place}.options", cell.get("options", {}), OPTIONS, ())
        for key, value in cell.get("options", {}).items():
            if value == []:
                raise UserError(f"{place}.options: {key} is an empty list; give it values")
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
    if entry["kind"] in _OF_ONE_WORLD and len({ft.world.name for ft in found.values()}) > 1:
        raise UserError(f"{where}: kind {entry['kind']} shows one world; make a result of each")
    if entry["kind"] == "effects":
        _check_cells(where, found.values())
    settings = list(dict.fromkeys(ft.setting for ft in found.values()))
    claims: list[Claim | IouClaim] = []
    for number, claim in enumerate(entry.get("claims") or [], start=1):
        place = f"{where}, claim {number}"
        check_values(place, claim)
        check_named(place, {"paper": NOT_ASKED, **claim}, ("paper",), PAPER_SAYS)
        if of_masks:
            check_keys(place, claim, _IOU_CLAIM_KEYS, ("says", "of", "and_of", "above"))
            check_named(place, claim, ("of", "and_of"), settings)
            claims.append(IouClaim(**claim))
        else:
            check_keys(place, claim, _CLAIM_KEYS, ("says", "fewer", "than"))
            groups_or_settings = TRANSFER_GROUPS if entry["kind"] == "transfer" else settings
            check_named(place, claim, ("fewer", "than"), groups_or_settings)
            own = tuple(claim.get("worlds") or ())
            names = {name for ft in found.values() for name in (ft.world.name, ft.world.group)}
            if own and entry["kind"] == "transfer":
                raise UserError(f"{place}: kind transfer asks in all worlds; leave worlds out")
            for one in own:
                check_named(place, {"worlds": one}, ("worlds",), sorted(names))
            claims.append(Claim(**{**claim, "worlds": own}))
    return Result(
        name,
        entry["title"],
        entry["kind"],
        () if of_masks else tuple(found.values()),
        entry.get("paper") or {},
        tuple(claims),
        tuple(found.values()) if of_masks else (),
    )


def cell_of(ft: FineTuning) -> str | None:
    """Which cell of the two by two design a fine-tuning is; None for GMP's own cubic ramp."""
    method = METHODS[ft.method]
    if method.ramps and ft.option("schedule", method.schedule) != "linear":
        return None
    return DESIGN[2 * method.ramps + (not method.static)]


def _check_cells(where: str, fine_tunings: Iterable[FineTuning]) -> None:
    """Each of the four cells is one setting, sparsity by sparsity."""
    said: dict[tuple[float, str], str] = {}
    for ft in fine_tunings:
        cell = cell_of(ft)
        before = said.setdefault((ft.sparsity, cell), ft.setting) if cell else ft.setting
        if before != ft.setting:
            raise UserError(f"{where}: {before} and {ft.setting} are both {cell}; keep one")


def _chosen(where: str, names: Iterable[Any], groups: Mapping[str, list[World]]) -> list[World]:
    """The worlds that are named, by their own names or by their groups'."""
    found = []
    for name in names:
        if name not in groups:
            raise UserError(f"{where}: there is no world {name}; use {', '.join(groups)}")
        found += groups[name]
    return found


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
    if asked == _ANOTHER_SEED:
        return [world]
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
                other = seed + 1 if cell.get("from") == _ANOTHER_SEED else None
                yield FineTuning(
                    world, cell["method"], float(sparsity), seed, options, trail, source, other
                )
