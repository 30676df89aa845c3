"""Libri-light's limited supervision: ten minutes, one hour and ten hours of labelled speech.

The expected trees::

    librispeech_finetuning/1h/{0,1,2,3,4,5}/{clean,other}/<speaker>/<chapter>/*.flac
    librispeech_finetuning/9h/{clean,other}/<speaker>/<chapter>/*.flac
    LibriSpeech/{dev-clean,dev-other,test-clean,test-other}/<speaker>/<chapter>/*.flac

with a `<speaker>-<chapter>.trans.txt` in each chapter. Ten minutes are the first fold of `1h`, one
hour is all six, ten hours are `1h` and `9h` together (Kahn et al. 2020). The paths of every
training set start from `librispeech_finetuning`, which holds both halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.corpora.corpus import find_below
from parp_fairseq.manifests.corpora.librispeech import read_tree
from parp_fairseq.manifests.labels.labelling import EnglishLetters
from parp_fairseq.manifests.pipeline import build
from parp_fairseq.manifests.split_names import TRAIN
from parp_fairseq.manifests.summary import BuildSummary

SETS = ("10min", "1h", "10h")
EVALUATION_PARTS = ("dev-clean", "dev-other", "test-clean", "test-other")
TREE = "librispeech_finetuning/{1h/{0..5},9h}/{clean,other}/<speaker>/<chapter>/*.flac"


def build_librilight(
    librilight: PathLike,
    librispeech: PathLike,
    out: PathLike,
    *,
    sets: Sequence[str] = SETS,
    **run: Any,
) -> BuildSummary:
    """Write `out/10min`, `out/1h` and `out/10h`, each complete for fairseq.

    Each folder holds `train` and those of dev-clean, dev-other, test-clean and test-other that
    `librispeech` has (dev-other, the validation set, must be there) as `.tsv`, `.wrd`, `.ltr` and
    fairseq's dictionary of letters.

    Nothing is written unless everything was read. `run`, and what raises UserError,
    is as for `build_librispeech`.
    """
    if not sets or {*sets} - {*SETS}:
        raise UserError(f"no set {', '.join(sets)!r}; choose from {', '.join(SETS)}")
    root = find_below(librilight, "librispeech_finetuning", (), TREE)
    speech = find_below(librispeech, "LibriSpeech", (), "LibriSpeech/{dev-clean,dev-other,…}")

    missing = [part for part in EVALUATION_PARTS if not (speech / part).is_dir()]
    if "dev-other" in missing:
        raise UserError(f"{speech / 'dev-other'}: no such folder; training validates on it")
    evaluation = [
        read_tree(part, speech / part, [speech / part])
        for part in EVALUATION_PARTS
        if part not in missing
    ]
    training = _training_sets(root, sets).items()
    return build(
        out,
        {name: [read_tree(TRAIN, root, parts), *evaluation] for name, parts in training},
        EnglishLetters(),
        builder="parp manifest librilight",
        options={"librilight": str(root), "librispeech": str(speech)},
        notes=tuple(f"left out: {speech / part} (not found)" for part in missing),
        **run,
    )


def _training_sets(root: Path, sets: Sequence[str]) -> dict[str, list[Path]]:
    """Set → the folders of `root` that it is made of."""
    every_fold = [root / "1h" / str(fold) for fold in range(6)]
    parts_of = {"10min": every_fold[:1], "1h": every_fold, "10h": [*every_fold, root / "9h"]}
    chosen = {name: parts for name, parts in parts_of.items() if name in sets}
    for name, parts in chosen.items():
        for part in parts:
            if not part.is_dir():
                raise UserError(f"{part}: no such folder, and {name} needs it; expected {TREE}")
    return chosen
