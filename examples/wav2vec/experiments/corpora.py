"""Recorded corpora that a person has cloned: where they are, their models and manifests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.plan import HERE
from parp_fairseq.checkpoints.formats import named_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import replacing

REPOSITORIES = {
    "mboshi": "https://github.com/besacier/mboshi-french-parallel-corpus",
    "speechocean762": "https://github.com/jimbozhang/speechocean762",
}
"""Corpus → the git repository to clone, to a folder of the corpus' name."""

KEYS = {"name", "hours", "units", "valid_share", "seed"}
"""What a world's `corpus` may say: a name of `REPOSITORIES`, and options of `parp manifest`."""


def clone_of(name: str, corpora: Path | None) -> Path:
    """The corpus' clone in the folder `corpora`.

    Raises:
        UserError: it is not there, or no folder was given; the line tells what to clone.
    """
    get = f"git clone {REPOSITORIES[name]} DIR/{name}"
    if corpora is None:
        raise UserError(f"{name} is recorded speech: {get}, then pass --config corpora=DIR")
    if not (corpora / name).is_dir():
        raise UserError(f"{corpora / name}: no such folder (--config corpora); {get}")
    return corpora / name


def model_file(model: str, work: Path) -> Path:
    """The pre-trained model's file, a relative one in the work folder, or beside the Snakefile.

    Raises:
        UserError: it is not there.
    """
    file = work / named_checkpoint(model)
    for place in (file, HERE / named_checkpoint(model)):
        if place.is_file():
            return place
    raise UserError(f"{file}: no such model; headline_real/README.md tells how to make it")


def place_model(model: str, work: Path) -> None:
    """Copy a model that ships beside the Snakefile into the work folder, where trainings look."""
    file, ours = work / named_checkpoint(model), HERE / named_checkpoint(model)
    if ours.is_file() and not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            shutil.copyfile(ours, part)


def make_manifests(corpus: Mapping[str, Any], corpora: Path | None, out: Path) -> None:
    """Write the manifests of a world's corpus into `out`; those of an earlier call are replaced.

    Raises:
        UserError: the corpus is not there, or is not as its builder expects it.
    """
    from parp_fairseq.manifests.corpora import mboshi, speechocean762
    from parp_fairseq.manifests.corpora.corpus import build_corpus

    known = {one.name: one for one in (mboshi.CORPUS, speechocean762.CORPUS)}
    options = {key: value for key, value in corpus.items() if key != "name"}
    folder = clone_of(corpus["name"], corpora)
    build_corpus(known[corpus["name"]], folder, out, force=True, **options)
