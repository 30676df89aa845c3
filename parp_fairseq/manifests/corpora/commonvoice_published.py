"""The published Common Voice splits and phones (Rivière et al. 2020), used by the paper (4.1).

The archive `common_voices_splits.tar.gz` holds for es, fr, it, ky, nl, ru, sv, tr, tt and zh::

    <lang>/validated_phones_reduced.txt                      clip id, then integers
    <lang>/phonesMatches_reduced.json                        phone → integer
    <lang>/{train,val}Seqs_<hours>_uniform_new_version.txt   clip ids, without ending
    <lang>/testSeqs_uniform_new_version.txt                  clip ids, without ending
"""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
import re
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS
from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.commonvoice_release import Clip, plain_name
from parp_fairseq.manifests.summary import LeftOut
from parp_fairseq.manifests.tsv import stream_lines

# Folders of the published splits that are not named after the release's language.
_FOLDERS = {"sv-SE": "sv", "zh-TW": "zh"}
RELEASE_NAMES = {folder: lang for lang, folder in _FOLDERS.items()}

PHONES = "validated_phones_reduced.txt"
INVENTORY = "phonesMatches_reduced.json"
_ENDING = "uniform_new_version.txt"
_EXPECTED = f"common_voices_splits/<lang>/ with {PHONES}, {INVENTORY} and the lists of clips"


@contextlib.contextmanager
def opened(splits: Path, lang: str) -> Iterator[Path]:
    """The folder of a language in `splits`, a folder or the archive itself. Raises UserError."""
    name = _FOLDERS.get(lang, lang)
    with contextlib.ExitStack() as stack:
        folder = splits
        if splits.is_file():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parp-")))
            _unpack(splits, name, folder)
        elif not splits.is_dir():
            raise UserError(f"{splits}: no such folder or archive; expected {_EXPECTED}")
        for place in (folder / name, folder / "common_voices_splits" / name, folder):
            if (place / PHONES).is_file():
                break
        else:
            raise UserError(f"{splits} holds no {name}/{PHONES}; expected {_EXPECTED}")
        yield place


def _unpack(archive: Path, name: str, folder: Path) -> None:
    """Write a language's files into `folder`; no other member, link or path is followed."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                *_, above, file = ("", "", *PurePosixPath(member.name).parts)
                if member.isreg() and above == name and re.fullmatch(r"\w[\w.]*", file):
                    (folder / file).write_bytes(tar.extractfile(member).read())
            # The checksum is behind the last member, where tarfile does not look.
            while tar.fileobj.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive} is no sound tar archive; get it again") from error
    except OSError as error:
        raise UserError(f"{archive} cannot be unpacked: {error.strerror or error}") from error


def read_published(
    folder: Path, hours: float, left: LeftOut
) -> tuple[dict[str, list[Clip]], list[str]]:
    """Read the lists for `hours` of training (1 or 5) and the phones of their clips.

    A clip that is in two lists stays in the later one of train, dev and test; such clips and
    those without phones are counted in `left`. Raises UserError naming file and row.

    Returns:
        `train`, `dev` and `test`, by name; and all phones, in the order of their integers.
    """
    lists = _lists(folder, hours)
    homes: dict[str, str] = {}
    for split in ("test", "dev", "train"):
        for name in _read_list(lists[split], left):
            if name in homes:
                left.add(f"{split} clip that the list of {homes[name]} holds too", name)
            else:
                homes[name] = split
    symbols = _read_inventory(folder / INVENTORY)
    phones = _read_phones(folder / PHONES, symbols, homes)
    splits: dict[str, list[Clip]] = {"train": [], "dev": [], "test": []}
    for name, split in homes.items():
        if phones.get(name):
            splits[split].append(Clip(name, phones=phones[name]))
        else:
            left.add("no phones in the published annotations", name)
    for clips in splits.values():
        clips.sort(key=lambda clip: clip.id)
    return splits, [symbols[number] for number in sorted(symbols)]


def _read_inventory(path: Path) -> dict[int, str]:
    """Integer → phone."""
    try:
        numbers = json.loads("\n".join(_lines(path)))
    except ValueError as error:
        raise UserError(f"{path} is no sound JSON ({error}); unpack the splits again") from error
    if not isinstance(numbers, dict) or not numbers:
        raise UserError(f"{path}: expected an object of phone to integer; unpack the splits again")
    symbols: dict[int, str] = {}
    for phone, number in numbers.items():
        if type(number) is not int or number in symbols:
            raise UserError(f"{path}: {phone!r} has {number!r}, expected an integer of its own")
        if phone.split() != [phone] or phone in SPECIAL_SYMBOLS:
            raise UserError(f"{path}: {phone!r} cannot be in a fairseq dictionary; rename it")
        symbols[number] = phone
    return symbols


def _lines(path: Path) -> Iterator[str]:
    for line in stream_lines(path, hint=f"expected {_EXPECTED}", cr=False):
        yield line.removeprefix("\ufeff")


def _lists(folder: Path, hours: float) -> dict[str, Path]:
    """The lists of train, dev and test; where dev has none for `hours`, that for one hour."""
    train, dev, one_hour, test = (
        folder / f"{name}_{_ENDING}"
        for name in (
            f"trainSeqs_{float(hours)}",
            f"valSeqs_{float(hours)}",
            "valSeqs_1.0",
            "testSeqs",
        )
    )
    if not train.is_file():
        there = sorted(path.name.split("_")[1] for path in folder.glob(f"trainSeqs_*_{_ENDING}"))
        raise UserError(
            f"{folder}: no list for {hours:g} hours of training; it has: {', '.join(there) or None}"
        )
    return {"train": train, "dev": dev if dev.is_file() else one_hour, "test": test}


def _read_list(path: Path, left: LeftOut) -> list[str]:
    names: dict[str, None] = {}
    for row, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        name = plain_name(line.strip(), path, row)
        if name in names:
            left.add("listed twice", name)
        names[name] = None
    return list(names)


def _read_phones(path: Path, symbols: dict[int, str], wanted: Collection[str]) -> dict[str, str]:
    phones: dict[str, str] = {}
    for row, line in enumerate(_lines(path), start=1):
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
