"""What a grid's runs read: data that is spoken or built here, models that are pre-trained here.

Paths are relative to the work folder. A note next to each, PATH.json, says what it was made from.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from parp_fairseq.config import shipped
from parp_fairseq.demo.sentences import check_language
from parp_fairseq.errors import UserError
from parp_fairseq.files import replacing, write_json
from parp_fairseq.grid.setups import Grid

HERE = Path(__file__).resolve().parent
MAKE_MODEL = HERE.parents[1] / "tools" / "tiny_model" / "make.py"
REPOSITORIES = {
    "mboshi": "https://github.com/besacier/mboshi-french-parallel-corpus",
    "speechocean762": "https://github.com/jimbozhang/speechocean762",
}
"""Corpus → the git repository to clone, into a folder of the corpus' name."""
_KEYS = {
    "speech": ("language", "languages", "seed", "per_speaker", "utterances"),
    "corpus": ("name", "hours", "units", "valid_share", "seed"),
    "model": ("languages", "speakers", "audio", "width", "rounds", "updates", "seed"),
}


class Options(NamedTuple):
    """What `--config` says: the grid's file, folders, and GPUs of a training."""

    grid: Path
    work: Path
    results: Path
    corpora: Path | None
    gpus: int


def read_options(config: Mapping[str, Any]) -> Options:
    """Read Snakemake's --config.

    Raises:
        UserError: a key is unknown, a folder is not a whole path, or gpus is no number.
    """
    given = {key: str(value) for key, value in config.items()}
    for key, value in given.items():
        if key not in Options._fields:
            raise UserError(f"--config: unknown {key}; use {', '.join(Options._fields)}")
        if key in ("work", "results", "corpora") and not Path(value).is_absolute():
            raise UserError(f"--config {key}={value}: give the whole path, {key}=$PWD/{value}")
    gpus = given.get("gpus", str(shipped.GPUS))
    if not re.fullmatch("[1-9][0-9]*", gpus):
        raise UserError(f"--config gpus must be at least 1 (got {gpus})")
    grid = given.get("grid", "small")
    file = Path(grid) if grid.endswith(".yaml") else HERE / "grids" / f"{grid}.yaml"
    # The tables of the small grid are those that are committed.
    results = HERE / "results" / ("" if grid == "small" else file.stem)
    return Options(
        file,
        Path(given.get("work", HERE / "work" / file.stem)),
        Path(given.get("results", results)),
        Path(given["corpora"]) if "corpora" in given else None,
        int(gpus),
    )


def note(path: str | Path) -> str:
    """The file that says what a data folder or a model was made from."""
    return f"{path}.json"


def settings(grid: Grid) -> dict[str, Mapping[str, Any]]:
    """Everything that is made here: data folder or model → what it is made from.

    Raises:
        UserError: a key or language is unknown, or one folder has two settings.
    """
    found: dict[str, Mapping[str, Any]] = {}

    def add(path: str, kind: str, value: Mapping[str, Any]) -> None:
        for key in value:
            if key not in _KEYS[kind]:
                raise UserError(f"{path}: unknown key {key}; use {', '.join(_KEYS[kind])}")
        for language in value.get("languages", [value.get("language")]):
            if language is not None:
                check_language(language)
        if found.setdefault(path, {kind: value}) != {kind: value}:
            raise UserError(f"two setups make {path} from different settings; rename one")

    for setup in grid.setups.values():
        for kind, value in (("corpus", setup.corpus), ("speech", setup.speech)):
            if value is not None:
                add(setup.data, kind, value)
        speech = dict(setup.speech or {})
        for language in speech.pop("languages", ()):
            add(language_folder(language), "speech", {"language": language, **speech})
        if setup.model in grid.models:
            add(setup.model, "model", grid.models[setup.model])
    return found


def language_folder(language: str) -> str:
    """The manifests of one synthetic language."""
    return f"data/languages/{language}"


def languages_of(wanted: Mapping[str, Any]) -> list[str]:
    """The manifests that joint ones are made of."""
    return [language_folder(language) for language in wanted.get("speech", {}).get("languages", ())]


def notes(work: Path, made: Mapping[str, Mapping[str, Any]], paths: Iterable[str]) -> list[str]:
    """The notes of those paths that are made here, compared with what the grid has now.

    Raises:
        UserError: what is there was made from other settings.
    """
    found = [path for path in paths if path in made]
    for path in found:
        file = work / note(path)
        if file.is_file() and json.loads(file.read_text(encoding="utf-8")) != made[path]:
            raise UserError(
                f"{work / path} was made from other settings than the grid has now (see {file}); "
                "put them back, or remove both, and speech that it was made from, to make it again"
            )
    return [note(path) for path in found]


def clone(name: str, corpora: Path | None) -> Path:
    """The folder of a recorded corpus, NAME/… in `corpora`.

    Raises:
        UserError: it is not there; the line says what to clone.
    """
    corpus = name.partition("/")[0]
    if corpora is None or not (corpora / name).is_dir():
        where = "--config corpora=DIR" if corpora is None else f"{corpora / name}: no such folder"
        raise UserError(
            f"{corpus} is recorded speech ({where}): git clone {REPOSITORIES.get(corpus, corpus)} "
            f"DIR/{corpus}, then pass --config corpora=DIR"
        )
    return corpora / name


def check_clones(wanted: Mapping[str, Any], corpora: Path | None) -> None:
    """See that the recorded corpora that data or a model is made of are there."""
    for folder in wanted.get("model", {}).get("audio", ()):
        clone(folder, corpora)
    if "corpus" in wanted:
        clone(wanted["corpus"]["name"], corpora)


def make_data(folder: str, wanted: Mapping[str, Any], corpora: Path | None, jobs: int = 1) -> None:
    """Speak what is missing and build the manifests, in the present folder."""
    from parp_fairseq.manifests.corpora import mboshi, speechocean762
    from parp_fairseq.manifests.corpora.commonvoice import build_commonvoice
    from parp_fairseq.manifests.corpora.corpus import build_corpus
    from parp_fairseq.manifests.corpora.joint import build_joint
    from parp_fairseq.manifests.corpora.librilight import build_librilight

    options = dict(wanted.get("corpus") or wanted["speech"])
    if "corpus" in wanted:
        known = {"mboshi": mboshi.CORPUS, "speechocean762": speechocean762.CORPUS}
        name = options.pop("name")
        build_corpus(known[name], clone(name, corpora), Path(folder), force=True, **options)
    elif "languages" in options:
        languages = [language_folder(language) for language in options["languages"]]
        build_joint(languages, Path(folder), force=True)
    elif "language" in options:
        from parp_fairseq.demo.spoken_release import synthesise_release

        spoken = Path("speech/commonvoice")
        synthesise_release(spoken, **options, jobs=jobs)
        build_commonvoice(spoken, options["language"], Path(folder), jobs=jobs, force=True)
    else:
        from parp_fairseq.demo.speech import synthesise_corpus

        out = Path(folder)
        spoken = Path("speech", out.parent.name)
        synthesise_corpus(spoken, **options, jobs=jobs)
        parts = (spoken / "librispeech_finetuning", spoken / "LibriSpeech")
        build_librilight(*parts, out.parent, sets=[out.name], force=True)
    write_json(note(folder), wanted)


def place_model(model: str, work: Path) -> None:
    """Copy a model that ships here into the work folder, where runs look for it."""
    ours, file = HERE / model, work / model
    if ours.is_file() and not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial:
            shutil.copyfile(ours, partial)


def making_model(model: str, wanted: Mapping[str, Any], corpora: Path | None) -> str:
    """The command line that pre-trains a model; rerun it to resume."""
    arguments = [sys.executable, str(MAKE_MODEL)]
    for key, value in wanted["model"].items():
        if key == "audio":
            for folder in value:
                arguments += ["--audio", str(clone(folder, corpora))]
        else:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            arguments += [f"--{key}", text]
    return shlex.join([*arguments, "--work", f"pretraining/{model}", "--out", model])
