"""Is a manifest fit for training or scoring? Asked before either begins."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio import SAMPLE_RATE, read_header
from parp_fairseq.manifests.tsv import Manifest, available_splits, read_lines, read_tsv
from parp_fairseq.manifests.units import read_dictionary

PathLike = Union[str, "os.PathLike[str]"]

# fairseq reads "archive.zip:offset:length" as a file stored inside an archive.
_IN_ARCHIVE = re.compile(r"^(.*\.zip):\d+:\d+$")


@dataclass(frozen=True)
class CheckedManifest:
    """A split that passed: its utterances and their labels, row by row."""

    split: str
    manifest: Manifest
    labels: list[str]

    @property
    def hours(self) -> float:
        """Length at 16 kHz, in hours."""
        return self.manifest.frames / SAMPLE_RATE / 3600


def check_manifest(
    data: PathLike,
    split: str,
    labels: str,
    *,
    symbols: Collection[str] | None = None,
    symbols_from: str = "the dictionary",
    headers: int = 16,
    sample_rate: int = SAMPLE_RATE,
) -> CheckedManifest:
    """Check `{split}.tsv` and `{split}.{labels}` in the folder `data`.

    The first of these that is not so raises UserError naming file and row: both files are there
    and well formed, the split is not empty, the root and every audio file exist, labels and
    audio are equally many, no label is empty, every symbol stands in `dict.{labels}.txt`, or
    in `symbols` where given (a checkpoint's own dictionary; `symbols_from` names it).
    `headers` files spread over the split are opened to compare rate and length.
    """
    data = Path(data)
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; give the folder that holds {split}.tsv")
    tsv = data / f"{split}.tsv"
    if not tsv.is_file():
        others = ", ".join(available_splits(data)) or "none"
        raise UserError(f"{tsv}: no such manifest; the splits in {data} are: {others}")
    text = data / f"{split}.{labels}"
    if not text.is_file():
        raise UserError(f"{text}: no such label file; check labels, or build the manifest again")
    manifest = read_tsv(tsv)
    if not manifest.rows:
        raise UserError(f"{tsv} lists no audio; build the manifest again")
    lines = read_lines(text, "label file")
    if len(lines) != len(manifest.rows):
        raise UserError(
            f"{text} has {len(lines)} lines but {tsv} lists {len(manifest.rows)} audio files; "
            "build both again"
        )
    if symbols is None:
        dictionary = data / f"dict.{labels}.txt"
        symbols, symbols_from = read_dictionary(dictionary), str(dictionary)
    _check_symbols(text, lines, frozenset(symbols), symbols_from)
    _check_files(tsv, manifest)
    _check_headers(tsv, manifest, headers, sample_rate)
    return CheckedManifest(split, manifest, lines)


def _check_symbols(path: Path, lines: list[str], known: Collection[str], source: str) -> None:
    for row, line in enumerate(lines, start=1):
        symbols = line.split()
        if not symbols:
            raise UserError(f"{path} row {row} is empty; remove it here and in the .tsv")
        for symbol in symbols:
            if symbol not in known:
                raise UserError(f"{path} row {row}: the symbol {symbol!r} is not in {source}")


def _check_files(tsv: Path, manifest: Manifest) -> None:
    root = manifest.root
    if not os.path.isdir(root) and not all(os.path.isabs(row.path) for row in manifest.rows):
        raise UserError(
            f"{tsv} row 1: {root}: no such folder; the audio was moved, so build the manifest "
            "again or put its new place in row 1"
        )
    for number, row in enumerate(manifest.rows, start=2):
        path = os.path.join(root, row.path)
        archive = _IN_ARCHIVE.match(path)
        try:
            size = os.stat(archive.group(1) if archive else path).st_size
        except OSError as error:
            raise UserError(
                f"{tsv} row {number}: {path}: no such audio file; build the manifest again"
            ) from error
        if size == 0:
            raise UserError(f"{tsv} row {number}: {path} is an empty file; copy it again")


def _check_headers(tsv: Path, manifest: Manifest, headers: int, sample_rate: int) -> None:
    count = len(manifest.rows)
    if headers < 1:
        return
    for index in sorted({round(i * (count - 1) / max(1, headers - 1)) for i in range(headers)}):
        row = manifest.rows[index]
        path = os.path.join(manifest.root, row.path)
        if _IN_ARCHIVE.match(path):
            continue
        frames = read_header(Path(path), sample_rate=sample_rate)
        if frames != row.frames:
            raise UserError(
                f"{tsv} row {index + 2}: {path} has {frames} samples, not {row.frames}; the "
                "audio changed, so build the manifest again"
            )
