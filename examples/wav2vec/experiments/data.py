"""The data of a world: the demo's speech in the corpora's own layouts, or a clone's."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.corpora import make_manifests, place_model
from experiments.plan import World
from parp_fairseq.checkpoints.formats import named_checkpoint
from parp_fairseq.demo.plan import UTTERANCES
from parp_fairseq.errors import UserError


def check_given(world: World, work: Path) -> None:
    """See that the manifests and the checkpoint are there where the workflow makes neither.

    Raises:
        UserError: a file is missing.
    """
    if world.made:
        return
    files = [work / world.data / f"{split}.tsv" for split in ("train", *world.splits)]
    if world.recipe is None:
        files.append(work / named_checkpoint(world.model))
    for file in files:
        if not file.is_file():
            raise UserError(
                f"{file}: no such file, and world {world.name} needs it; relative paths of the "
                "yaml are looked for from the work folder (--config work=DIR)"
            )


def make_data(world: World, work: Path, jobs: int = 1, corpora: Path | None = None) -> None:
    """Speak the sentences, where the world is synthetic, and build the manifests.

    What was spoken already is left.

    Args:
        world: one with `corpus`, or with `speech`: `seed`, `per_speaker`, and `utterances`
            (part → number) where they are not the demo's.
        work: the work folder.
        jobs: processes at a time.
        corpora: folder of the clones.

    Raises:
        UserError: a corpus is not there.
    """
    if world.corpus is not None:
        make_manifests(world.corpus, corpora, work / world.data)
        place_model(world.model, work)
        return
    from parp_fairseq.demo.speech import synthesise_corpus
    from parp_fairseq.manifests.corpora.librilight import build_librilight

    speech = dict(world.speech or {})
    folder = work / "speech" / world.name
    synthesise_corpus(
        folder,
        seed=speech.get("seed", 1),
        utterances=speech.get("utterances") or dict(UTTERANCES),
        per_speaker=speech.get("per_speaker", 4),
        jobs=jobs,
    )
    out = (work / world.data).parent
    build_librilight(
        folder / "librispeech_finetuning",
        folder / "LibriSpeech",
        out,
        sets=[os.path.basename(world.data)],
        force=True,
    )


def make_language(world: World, language: str, work: Path, jobs: int = 1) -> None:
    """Speak a language as a Common Voice release, and build its manifests in phones.

    What was spoken already is left, and serves all worlds that hear the language.

    Args:
        world: one that hears it: `seed`, `per_speaker` and `utterances` (split → number), where
            they are not those of `parp_fairseq.demo.commonvoice`.
        language: by Common Voice's code.
        work: the work folder.
        jobs: processes at a time.
    """
    from parp_fairseq.demo.commonvoice import synthesise_release
    from parp_fairseq.manifests.corpora.commonvoice import build_commonvoice

    given = {key: value for key, value in (world.speech or {}).items() if "language" not in key}
    spoken, manifests = folders_of(language, work)
    synthesise_release(spoken.parent, language, **given, jobs=jobs)
    build_commonvoice(spoken.parent, language, manifests, jobs=jobs, force=True)


def folders_of(language: str, work: Path) -> tuple[Path, Path]:
    """A language's speech and its manifests."""
    return work / "speech" / "commonvoice" / language, work / "data" / "languages" / language


def make_joint(world: World, work: Path) -> None:
    """Build one training set of several languages' manifests; of one there is nothing to do."""
    from parp_fairseq.manifests.corpora.joint import build_joint

    if len(world.languages) > 1:
        folders = [str(folders_of(language, work)[1]) for language in world.languages]
        build_joint(folders, work / world.data, force=True)
