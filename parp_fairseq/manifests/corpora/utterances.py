"""Utterances that a corpus lists, written as manifests: what its reader gives, and the rest."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_lines
from parp_fairseq.machine import cores
from parp_fairseq.manifests.audio.convert import convert_all
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE, AudioError, HeaderReader
from parp_fairseq.manifests.check.split import training_warnings
from parp_fairseq.manifests.corpora.draw import by_rounds, groups_for_share
from parp_fairseq.manifests.labels.ctc import least_samples
from parp_fairseq.manifests.labels.labelling import Units, write_labels
from parp_fairseq.manifests.output import manifests_into
from parp_fairseq.manifests.overrides import training_overrides
from parp_fairseq.manifests.splits import is_training
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary
from parp_fairseq.manifests.tsv import Manifest, Row, check_path, write_tsv

TRAIN, VALID = "train", "valid"

VALID_SHARE = 0.1
"""How much of training becomes `valid` where a corpus has nothing to validate on."""

# What fairseq reads and what keeps its length: not MP3.
_FORMATS = (".flac", ".wav", ".ogg")
_CONVERTIBLE = ("other sample rate", "not mono")
_AUDIO = "audio"


@dataclass(frozen=True)
class Utterance:
    """What a corpus says of an utterance.

    Attributes:
        where: what lists it, for errors: "corpus.tsv row 3".
        audio: an absolute path.
        text: its words.
        split: the corpus' own; where it has none, `train`, or `valid` if drawn for that.
        group: what stays together when a split is drawn, such as the speaker; empty where the
            utterance stands for itself.
        symbols: its labels, with spaces between, where these do not come of the text.
    """

    where: str
    audio: Path
    text: str
    split: str = TRAIN
    group: str = ""
    symbols: str = ""


def write_utterances(
    utterances: Sequence[Utterance],
    out: PathLike,
    *,
    builder: str,
    root: str,
    units: Units,
    inputs: Sequence[PathLike],
    options: Mapping[str, Any],
    valid_share: float | None = None,
    hours: float | None = None,
    seed: int = 1,
    convert: bool = False,
    jobs: int | None = None,
    progress: bool | None = None,
    force: bool = False,
) -> BuildSummary:
    """Write `{split}.tsv`, `.wrd`, labels and dictionary, sorted by path, all or nothing.

    Without words (`units` are symbols, and utterances have a text alone) there is no `.wrd`.

    Args:
        utterances: one or more.
        out: folder to write into.
        builder: the command, for `manifest.json`.
        root: the folder that the manifests' paths start from.
        units: what the labels are.
        inputs: what was read; it is never overwritten.
        options: those of the command, for `manifest.json`.
        valid_share: how much of training's audio becomes `valid`, drawn by group; None: nothing.
        hours: at most so much training, drawn group by group; None: all.
        seed: of both draws.
        convert: make 16 kHz mono FLAC in `out`/audio of what is not 16 kHz mono FLAC or WAV,
            which is refused otherwise.
        jobs: threads that read headers and convert.
        progress: bars on stderr; None means where stderr is a terminal.
        force: replace the manifests of an earlier build there.

    Raises:
        UserError: naming where an utterance is listed: audio that cannot be used, a text that
            cannot be labelled; or too little for what shall be drawn.
    """
    if valid_share is not None and not 0 < valid_share < 1:
        raise UserError(f"--valid-share is {valid_share}, expected more than 0 and less than 1")
    if hours is not None and not 0 < hours < float("inf"):
        raise UserError(f"--hours is {hours}, expected a number above 0")
    for one in utterances:
        objection = units.objection(one.text if units.source == "wrd" else one.symbols or one.text)
        if objection:
            raise UserError(f"{one.where}: {objection}")
    out = Path(out)
    summaries = []
    with manifests_into(out, builder, inputs=inputs, options=options, force=force) as stage:
        audio, short = _audio(utterances, out, root, convert, jobs, progress)
        samples = [row.frames for row in audio]
        splits = _splits(utterances, samples, valid_share, hours, seed)
        for split, numbers in splits.items():
            texts = [utterances[n].text for n in numbers]
            manifest = Manifest(root, tuple(audio[n] for n in numbers))
            write_tsv(stage / f"{split}.tsv", manifest)
            symbols = [utterances[n].symbols for n in numbers]
            if units.source != "wrd":
                lines = [given or text for given, text in zip(symbols, texts)]
                write_lines(stage / f"{split}.{units.source}", lines)
            if units.source == "wrd" or all(symbols):
                write_lines(stage / f"{split}.wrd", texts)
            words = sum(len(text.split()) for text in texts)
            summaries.append(SplitSummary(".", split, len(texts), manifest.frames, words))
        write_labels(stage, list(splits), units)
        warnings = list(training_warnings(stage, list(splits), units.ending))
        if short:
            warnings.append(
                f"{len(short):,} files end a little before their headers say, and are used as "
                f"they are; the first: {short[0]}"
            )
    return BuildSummary(
        out=out,
        splits=tuple(summaries),
        overrides=training_overrides(out, summaries, units.ending, units.post_process),
        warnings=tuple(warnings),
    )


def _audio(
    utterances: Sequence[Utterance],
    out: Path,
    root: str,
    convert: bool,
    jobs: int | None,
    progress: bool | None,
) -> tuple[list[Row], list[str]]:
    """Each one's audio as a manifest names it: below `root`, or in full where it is elsewhere.

    And the files among them that end a little before their header says.
    """
    rows: list[Row | None] = []
    unfit: dict[int, str] = {}
    with HeaderReader(len(utterances), jobs=jobs, progress=progress) as reader:
        for number, result in enumerate(reader.results([one.audio for one in utterances])):
            one = utterances[number]
            if isinstance(result, AudioError) and result.problem not in _CONVERTIBLE:
                raise UserError(f"{one.where}: {result}")
            if isinstance(result, AudioError):
                unfit[number] = str(result)
            elif one.audio.suffix.lower() not in _FORMATS:
                unfit[number] = f"{one.audio} is not FLAC or WAV"
            elif result < least_samples(0):
                raise UserError(f"{one.where}: {one.audio} is shorter than 25 ms; remove the row")
            rows.append(None if number in unfit else Row(_below(root, one.audio), result))
    if unfit and not convert:
        number, reason = next(iter(unfit.items()))
        raise UserError(
            f"{utterances[number].where}: {reason.split(';')[0]}; fairseq needs 16 kHz mono "
            f"FLAC or WAV ({len(unfit)} of {len(utterances)} files are not that): pass --convert"
        )
    targets = [_target(out, root, utterances[number].audio) for number in unfit]
    pairs = [(utterances[number].audio, target) for number, target in zip(unfit, targets)]
    given = {os.path.realpath(one.audio) for one in utterances}
    for number, target in zip(unfit, targets):
        if os.path.realpath(target) in given:
            raise UserError(
                f"{utterances[number].where}: it would be converted into {target}, which is also "
                "an input; give another --out"
            )
    converted = []
    if pairs:
        converted = convert_all(pairs, jobs=jobs or cores(), progress=progress)
    for number, target, result in zip(unfit, targets, converted):
        if result.fault:
            one = utterances[number]
            raise UserError(
                f"{one.where}: {one.audio}: {result.fault}; copy it again or remove the row"
            )
        rows[number] = Row(_below(root, target), result.samples)
    for one, row in zip(utterances, rows):
        try:
            check_path(row.path)
        except UserError as error:
            raise UserError(f"{one.where}: {error}") from error
    return rows, sorted(reader.short)


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
    utterances: Sequence[Utterance],
    samples: Sequence[int],
    valid_share: float | None,
    hours: float | None,
    seed: int,
) -> dict[str, list[int]]:
    """Split → its utterances, sorted by path."""
    splits: dict[str, list[int]] = defaultdict(list)
    for number in sorted(range(len(utterances)), key=lambda n: str(utterances[n].audio)):
        splits[utterances[number].split].append(number)
    if valid_share is not None:
        groups = [_group(utterances[n]) for n in splits[TRAIN]]
        if len(set(groups)) < 2:
            raise UserError(
                f"{TRAIN} has one speaker or row alone, so nothing is left for validation; give "
                "it more, or name its splits"
            )
        valid = groups_for_share(groups, [samples[n] for n in splits[TRAIN]], valid_share, seed)
        chosen = [n for n, group in zip(splits[TRAIN], groups) if group in valid]
        splits[VALID] = sorted([*splits[VALID], *chosen], key=lambda n: str(utterances[n].audio))
        splits[TRAIN] = [n for n, group in zip(splits[TRAIN], groups) if group not in valid]
    if hours is not None:
        for split in [split for split in splits if is_training(split)]:
            splits[split] = _up_to(utterances, samples, splits[split], split, hours, seed)
    return {name: splits[name] for name in sorted(splits)}


def _up_to(
    utterances: Sequence[Utterance],
    samples: Sequence[int],
    numbers: Sequence[int],
    split: str,
    hours: float,
    seed: int,
) -> list[int]:
    """Those of `numbers` that are drawn until the next would make more than `hours`."""
    left = hours * 3600 * SAMPLE_RATE
    most = sum(samples[n] for n in numbers)
    if most < left:
        raise UserError(
            f"{split} has only {most / 3600 / SAMPLE_RATE:.2f} hours, not {hours:g}; give fewer "
            "--hours"
        )
    order = by_rounds(
        numbers, seed, lambda n: utterances[n].audio.name, lambda n: _group(utterances[n])
    )
    chosen = set()
    for number in order:
        left -= samples[number]
        if left < 0:
            break
        chosen.add(number)
    if not chosen:
        raise UserError(f"--hours is {hours}, which is less than one utterance; give more")
    return [number for number in numbers if number in chosen]


def _group(one: Utterance) -> str:
    return one.group or str(one.audio)
