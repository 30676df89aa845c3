"""The data of a synthetic world: the demo's speech, in the corpora's own layouts."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.plan import World
from parp_fairseq.demo.plan import UTTERANCES


def make_data(world: World, work: Path, jobs: int = 1) -> None:
    """Speak the sentences and build the manifests; what is there already is left.

    Args:
        world: one with `speech`: `seed`, `per_speaker`, and `utterances` (part → number) where
            they are not the demo's.
        work: the work folder.
        jobs: processes at a time.
    """
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
