"""Any corpus, from a table of its audio and texts."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_lines
from parp_fairseq.manifests.audio.convert import convert_all
from parp_fairseq.manifests.audio.headers import AudioError, HeaderReader
from parp_fairseq.manifests.check.split import training_warnings
from parp_fairseq.manifests.corpora.corpus_table import TableRow, read_table
from parp_fairseq.manifests.labels.ctc import least_samples
from parp_fairseq.manifests.labels.labelling import Symbols, make_units, write_labels
from parp_fairseq.manifests.output import manifests_into
from parp_fairseq.manifests.overrides import training_overrides
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary
from parp_fairseq.manifests.tsv import Manifest, Row, check_path, write_tsv

VALID_SHARE = 0.1

# What fairseq reads and what keeps its length: not MP3.
_FORMATS = (".flac", ".wav", ".ogg")
_CONVERTIBLE = ("other sample rate", "not mono")
_AUDIO = "audio"


def build_table(
    table: PathLike,
    out: PathLike,
    *,
    units: str = "letters",
    vocab_size: int | None = None,
    lang: str | None = None,
    valid_share: float | None = None,
    seed: int = 1,
    convert: bool = False,
    jobs: int | None = None,
    progress: bool | None = None,
    force: bool = False,
) -> BuildSummary:
    """Write `{split}.tsv`, `.wrd`, labels and dictionary of what `table` lists.

    Args:
        table: a `.tsv`, `.csv` or `.jsonl` with the columns path and text, and if need be
            split and speaker. Relative paths start from its folder.
        out: folder to write into.
        units: letters (those of the texts as they stand), phones (by
            espeak-ng in `lang`; without it the texts are phones already) or spm (`vocab_size`
            pieces, learnt from the training split).
        valid_share: without a column split, how much of the audio `valid` gets (0.1); no
            speaker, where there is a column of them, is in train and valid both.
        seed: of that choice.
        convert: audio that is not 16 kHz mono FLAC or WAV becomes that in `out`/audio, and what
            was converted before is kept; otherwise it is refused.
        jobs: threads that read headers and convert.
        progress: bars on stderr; None means where stderr is a terminal.
        force: replace the manifests of an earlier build there.

    The manifests are written when all else is done. Raises UserError naming the table's row.
    """
    table, out = Path(table), Path(out)
    rows = read_table(table)
    if valid_share is not None and rows[0].split:
        raise UserError(f"{table} has a column split; leave --valid-share out")
    share = VALID_SHARE if valid_share is None else valid_share
    if not 0 < share < 1:
        raise UserError(f"--valid-share is {share}, expected more than 0 and less than 1")
    chosen = make_units(units, vocab_size=vocab_size, lang=lang)
    for row in rows:
        objection = chosen.objection(row.text)
        if objection:
            raise UserError(f"{table} row {row.number}: {objection}")
    root = os.path.dirname(os.path.realpath(table))
    summaries = []
    with manifests_into(out, "parp manifest table", inputs=[table], force=force) as stage:
        audio = _audio(table, rows, out, root, convert, jobs, progress)
        splits = _splits(table, rows, [row.frames for row in audio], share, seed)
        for split, numbers in splits.items():
            texts = [rows[n].text for n in numbers]
            manifest = Manifest(root, tuple(audio[n] for n in numbers))
            write_tsv(stage / f"{split}.tsv", manifest)
            write_lines(stage / f"{split}.wrd", texts)
            words = sum(len(text.split()) for text in texts)
            summaries.append(SplitSummary(".", split, len(texts), manifest.frames, words))
        write_labels(stage, list(splits), chosen)
        if isinstance(chosen, Symbols):
            # These are no words.
            for split in splits:
                (stage / f"{split}.wrd").unlink()
        warnings = training_warnings(stage, list(splits), chosen.ending)
    return BuildSummary(
        out=out,
        splits=tuple(summaries),
        overrides=training_overrides(out, summaries, chosen.ending, chosen.post_process),
        warnings=warnings,
    )


def _audio(
    table: Path,
    rows: Sequence[TableRow],
    out: Path,
    root: str,
    convert: bool,
    jobs: int | None,
    progress: bool | None,
) -> list[Row]:
    """Each row's audio as a manifest names it: below `root`, or in full where it is elsewhere."""
    found: list[Row | None] = []
    unfit: dict[int, str] = {}
    with HeaderReader(len(rows), jobs=jobs, progress=progress) as reader:
        for number, result in enumerate(reader.results([row.audio for row in rows])):
            row = rows[number]
            if isinstance(result, AudioError) and result.problem not in _CONVERTIBLE:
                raise UserError(f"{table} row {row.number}: {result}")
            if isinstance(result, AudioError):
                unfit[number] = str(result)
            elif row.audio.suffix.lower() not in _FORMATS:
                unfit[number] = f"{row.audio} is not FLAC or WAV"
            elif result < least_samples(0):
                raise UserError(
                    f"{table} row {row.number}: {row.audio} is shorter than 25 ms; remove the row"
                )
            found.append(None if number in unfit else Row(_below(root, row.audio), result))
    if unfit and not convert:
        number, reason = next(iter(unfit.items()))
        raise UserError(
            f"{table} row {rows[number].number}: {reason.split(';')[0]}; fairseq needs 16 kHz mono "
            f"FLAC or WAV ({len(unfit)} of {len(rows)} files are not that): pass --convert"
        )
    targets = [_target(out, root, rows[number].audio) for number in unfit]
    pairs = [(rows[number].audio, target) for number, target in zip(unfit, targets)]
    converted = []
    if pairs:
        converted = convert_all(pairs, jobs=jobs or os.cpu_count() or 1, progress=progress)
    for number, target, result in zip(unfit, targets, converted):
        if result.fault:
            raise UserError(
                f"{table} row {rows[number].number}: {rows[number].audio}: {result.fault}; copy it "
                "again or remove the row"
            )
        found[number] = Row(_below(root, target), result.samples)
    for row, entry in zip(rows, found):
        try:
            check_path(entry.path)
        except UserError as error:
            raise UserError(f"{table} row {row.number}: {error}") from error
    return found


def _target(out: Path, root: str, audio: Path) -> Path:
    """Where converted audio goes: one place for each source."""
    below = Path(_below(root, audio))
    if below.is_absolute():
        below = Path("elsewhere", *below.parts[1:])
    return Path(os.path.realpath(out)) / _AUDIO / below.with_name(f"{below.name}.flac")


def _below(root: str, path: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path)


def _splits(
    table: Path, rows: Sequence[TableRow], samples: Sequence[int], share: float, seed: int
) -> dict[str, list[int]]:
    """Split → its rows, sorted by path."""
    splits: dict[str, list[int]] = defaultdict(list)
    valid: set[str] = set() if rows[0].split else _valid_speakers(table, rows, samples, share, seed)
    for number in sorted(range(len(rows)), key=lambda number: str(rows[number].audio)):
        row = rows[number]
        name = row.split or ("valid" if _speaker(row) in valid else "train")
        splits[name].append(number)
    return {name: splits[name] for name in sorted(splits)}


def _valid_speakers(
    table: Path, rows: Sequence[TableRow], samples: Sequence[int], share: float, seed: int
) -> set[str]:
    """Speakers for validation, drawn until they have `share` of the audio; train keeps one."""
    heard: dict[str, int] = defaultdict(int)
    for row, count in zip(rows, samples):
        heard[_speaker(row)] += count
    if len(heard) < 2:
        raise UserError(
            f"{table} has one {'speaker' if rows[0].speaker else 'row'} and no column split, so "
            "nothing is left for validation; add the column split"
        )
    order = sorted(heard, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    left = share * sum(samples)
    chosen: set[str] = set()
    for speaker in order:
        if heard[speaker] <= left:
            chosen.add(speaker)
            left -= heard[speaker]
    return chosen or {min(order, key=heard.__getitem__)}


def _speaker(row: TableRow) -> str:
    # Without speakers every row is taken for one.
    return row.speaker or str(row.audio)
