"""Libri-light's limited supervision: ten minutes, one hour and ten hours of labelled speech.

The expected trees::

    librispeech_finetuning/1h/{0,1,2,3,4,5}/{clean,other}/<speaker>/<chapter>/*.flac
    librispeech_finetuning/9h/{clean,other}/<speaker>/<chapter>/*.flac
    LibriSpeech/{dev-clean,dev-other,test-clean,test-other}/<speaker>/<chapter>/*.flac

with a `<speaker>-<chapter>.trans.txt` in each chapter. Ten minutes are one fold of `1h`, one
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
from parp_fairseq.manifests.corpora.librispeech import english_units, read_tree
from parp_fairseq.manifests.pipeline import build
from parp_fairseq.manifests.split_names import TRAIN
from parp_fairseq.manifests.summary import BuildSummary

SETS = ("10min", "1h", "10h")
FOLDS = (0, 1, 2, 3, 4, 5)
EVALUATION_PARTS = ("dev-clean", "dev-other", "test-clean", "test-other")
REQUIRED_PART = "dev-other"
TREE = (
    "librispeech_finetuning/1h/{0..5}/{clean,other}/<speaker>/<chapter>/*.flac and "
    "librispeech_finetuning/9h/{clean,other}/<speaker>/<chapter>/*.flac"
)


def build_librilight(
    librilight: PathLike,
    librispeech: PathLike,
    out: PathLike,
    *,
    sets: Sequence[str] = SETS,
    folds: Sequence[int] = (0,),
    units: str = "letters",
    vocab_size: int | None = None,
    allow_missing_audio: bool = False,
    **run: Any,
) -> BuildSummary:
    """Write `out/10min`, `out/1h` and `out/10h`, each complete for fairseq.

    Each folder holds `train` and those of dev-clean, dev-other, test-clean and test-other that
    `librispeech` has (dev-other, the validation set, must be there) as `.tsv`, `.wrd`, the labels
    of its `units` (`.ltr` for letters) and their dictionary. `folds` chooses the sixths of `1h`
    that become ten-minute sets: fold 0 is written as `10min`, fold 3 as `10min-fold3`.

    `units` are letters, phones or spm, of which `vocab_size` are learnt from each folder's own
    training set. Nothing is written unless everything was read. `run`, and what raises UserError,
    is as for `build_librispeech`.
    """
    if not sets:
        raise UserError(f"no sets given; choose from {', '.join(SETS)}")
    if not folds:
        raise UserError("no folds given; 1h has the folds 0 to 5")
    for name in {*sets} - {*SETS}:
        raise UserError(f"no set {name!r}; choose from {', '.join(SETS)}")
    for fold in {*folds} - {*FOLDS}:
        raise UserError(f"no fold {fold}; 1h has the folds 0 to 5")
    labels = english_units(units, vocab_size)
    root = find_below(librilight, "librispeech_finetuning", (), TREE)
    if not (root / "1h").is_dir() and not (root / "9h").is_dir():
        raise UserError(f"{root} has neither 1h nor 9h; expected {TREE}")
    speech = find_below(librispeech, "LibriSpeech", (), "LibriSpeech/{dev-clean,dev-other,…}")

    missing = [part for part in EVALUATION_PARTS if not (speech / part).is_dir()]
    if REQUIRED_PART in missing:
        raise UserError(f"{speech / REQUIRED_PART}: no such folder; training validates on it")
    absent: list[str] | None = [] if allow_missing_audio else None
    evaluation = [
        read_tree(part, speech / part, [speech / part], absent)
        for part in EVALUATION_PARTS
        if part not in missing
    ]
    training = _training_sets(root, sets, folds)
    return build(
        out,
        {
            name: [read_tree(TRAIN, root, parts, absent), *evaluation]
            for name, parts in training.items()
        },
        labels,
        builder="parp manifest librilight",
        options={
            "librilight": str(root),
            "librispeech": str(speech),
            "units": units,
            "vocab_size": vocab_size,
        },
        missing_parts=tuple(str(speech / part) for part in missing),
        transcripts_without_audio=len(absent or ()),
        **run,
    )


def _training_sets(root: Path, sets: Sequence[str], folds: Sequence[int]) -> dict[str, list[Path]]:
    """Folder name → the folders of `root` that its training set is made of."""
    every_fold = [root / "1h" / str(fold) for fold in FOLDS]
    chosen: dict[str, list[Path]] = {}
    if "10min" in sets:
        for fold in folds:
            name = "10min" if fold == 0 else f"10min-fold{fold}"
            chosen[name] = [root / "1h" / str(fold)]
    if "1h" in sets:
        chosen["1h"] = every_fold
    if "10h" in sets:
        chosen["10h"] = [*every_fold, root / "9h"]
    for name, parts in chosen.items():
        for part in parts:
            if not part.is_dir():
                raise UserError(f"{part}: no such folder, and {name} needs it; expected {TREE}")
    return chosen
