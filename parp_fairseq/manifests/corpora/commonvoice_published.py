"""The published Common Voice splits and phones (Rivière et al. 2020), used by the paper (4.1).

The archive `common_voices_splits.tar.gz`, unpacked, holds for es, fr, it, ky, nl, ru, sv, tr, tt
and zh::

    <lang>/validated_phones_reduced.txt                      clip id, then integers
    <lang>/phonesMatches_reduced.json                        phone → integer
    <lang>/{train,val}Seqs_<hours>_uniform_new_version.txt   clip ids, without ending
    <lang>/testSeqs_uniform_new_version.txt                  clip ids, without ending
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS
from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.commonvoice_release import Clip, plain_name
from parp_fairseq.manifests.summary import LeftOut
from parp_fairseq.manifests.table_reader import table_lines

# Folders of the published splits that are not named after the release's language.
_FOLDERS = {"sv-SE": "sv", "zh-TW": "zh"}
RELEASE_NAMES = {folder: lang for lang, folder in _FOLDERS.items()}

PHONES = "validated_phones_reduced.txt"
INVENTORY = "phonesMatches_reduced.json"
_ENDING = "uniform_new_version.txt"
_EXPECTED = (
    f"common_voices_splits/<lang>/ (unpacked) with {PHONES}, {INVENTORY} and the lists of clips"
)


def read_published(
    splits: Path, lang: str, hours: float, left: LeftOut
) -> tuple[dict[str, list[Clip]], list[str]]:
    """Read the lists of a language for `hours` of training (1 or 5) and the phones of their clips.

    A clip that is in two lists stays in the later one of train, dev and test; such clips and
    those without phones are counted in `left`. Raises UserError naming file and row.

    Returns:
        `train`, `dev` and `test`, by name; and all phones, in the order of their integers.
    """
    name = _FOLDERS.get(lang, lang)
    for folder in (splits / name, splits / "common_voices_splits" / name, splits):
        if (folder / PHONES).is_file():
            break
    else:
        raise UserError(f"{splits} holds no {name}/{PHONES}; expected {_EXPECTED}")
    homes: dict[str, str] = {}
    for split, path in _lists(folder, hours).items():
        for clip in _read_list(path, left):
            if clip in homes:
                left.add(f"{split} clip that the list of {homes[clip]} holds too", clip)
            else:
                homes[clip] = split
    symbols = _read_inventory(folder / INVENTORY)
    phones = _read_phones(folder / PHONES, symbols, homes)
    clips: dict[str, list[Clip]] = {"train": [], "dev": [], "test": []}
    for clip, split in sorted(homes.items()):
        if phones.get(clip):
            clips[split].append(Clip(clip, phones=phones[clip]))
        else:
            left.add("no phones in the published annotations", clip)
    return clips, [symbols[number] for number in sorted(symbols)]


def _lists(folder: Path, hours: float) -> dict[str, Path]:
    """The lists of test, dev and train; where dev has none for `hours`, that for one hour."""
    there = {
        path.name[: -len(_ENDING) - 1]: path for path in sorted(folder.glob(f"*Seqs*_{_ENDING}"))
    }
    train, dev = (f"{name}Seqs_{float(hours)}" for name in ("train", "val"))
    if train not in there:
        others = [name.split("_")[1] for name in there if name.startswith("trainSeqs_")]
        says = f"{folder}: no list for {hours:g} hours of training"
        raise UserError(f"{says}; it has: {', '.join(others) or None}")
    names = {"test": "testSeqs", "dev": dev if dev in there else "valSeqs_1.0", "train": train}
    return {split: folder / f"{name}_{_ENDING}" for split, name in names.items()}


def _read_list(path: Path, left: LeftOut) -> list[str]:
    names: dict[str, None] = {}
    for row, line in enumerate(table_lines(path, _EXPECTED), start=1):
        if line.strip():
            name = plain_name(line.strip(), path, row)
            if name in names:
                left.add("listed twice", name)
            names[name] = None
    return list(names)


def _read_inventory(path: Path) -> dict[int, str]:
    """Integer → phone."""
    try:
        numbers = json.loads("\n".join(table_lines(path, _EXPECTED)))
        symbols = {number: phone for phone, number in numbers.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path}: expected a JSON object of phone to integer; unpack the splits again"
        ) from error
    for phone, number in numbers.items():
        if type(number) is not int or symbols[number] != phone:
            raise UserError(f"{path}: {phone!r} has {number!r}, expected an integer of its own")
        if phone.split() != [phone] or phone in SPECIAL_SYMBOLS:
            raise UserError(f"{path}: {phone!r} cannot be in a fairseq dictionary; rename it")
    return symbols


def _read_phones(path: Path, symbols: dict[int, str], wanted: Collection[str]) -> dict[str, str]:
    phones: dict[str, str] = {}
    for row, line in enumerate(table_lines(path, _EXPECTED), start=1):
        name, *numbers = line.split() or [""]
        if name not in wanted:
            continue
        try:
            spoken = " ".join(symbols[int(number)] for number in numbers)
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{path} row {row}: {error.args[0]} is no integer of {INVENTORY}"
            ) from error
        if phones.setdefault(name, spoken) != spoken:
            raise UserError(f"{path} row {row}: {name} has other phones in an earlier row")
    return phones
