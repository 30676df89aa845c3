"""From the utterances of a corpus to manifests: audio, samples, labels, checks, one summary.

A corpus gives its utterances. What is common to all is here: what their texts may hold, audio that
fairseq can read or that is converted, splits that are drawn, the files, and what training will say.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_lines
from parp_fairseq.manifests.audio.convert import convert_all
from parp_fairseq.manifests.audio.headers import (
    AudioError,
    Recording,
    in_threads,
    read_recording,
)
from parp_fairseq.manifests.check.split import (
    Fault,
    by_content,
    counted,
    in_two_kinds,
    training_warnings,
)
from parp_fairseq.manifests.labels.alphabet import control_character, oddities
from parp_fairseq.manifests.labels.labelling import Units, write_labels
from parp_fairseq.manifests.output_folder import manifests_into
from parp_fairseq.manifests.sampling import by_rounds, check_hours, groups_for_share, up_to_hours
from parp_fairseq.manifests.split_names import TRAIN, VALID, is_training, kind_of
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary, training_commands
from parp_fairseq.manifests.tsv import Manifest, Row, check_path, write_tsv

VALID_SHARE = 0.1
"""How much of training becomes `valid` where a corpus has nothing to validate on."""


@dataclass(frozen=True)
class Utterance:
    """What a corpus says of an utterance.

    Attributes:
        where: what lists it, for errors: "corpus.tsv row 3".
        audio: an absolute path.
        text: its words.
        split: the corpus' own; where it has none, `train`, or `valid` if drawn for that.
        group: what stays together when a split is drawn, such as the speaker; empty where the
            utterance is a group of its own.
        symbols: its labels, with spaces between, where these are not made from the text.
        duration: how long the text takes, in seconds, milliseconds or samples; None: not known.
    """

    where: str
    audio: str
    text: str
    split: str = TRAIN
    group: str = ""
    symbols: str = ""
    duration: float | None = None

    @property
    def drawn_with(self) -> str:
        """Its group, or itself."""
        return self.group or self.audio

    def source(self, units: Units) -> str:
        """What its labels are made from."""
        return self.text if units.of_words else self.symbols or self.text


@dataclass(frozen=True)
class Split:
    """One manifest to write: its name, the folder that its paths start from, and its rows."""

    name: str
    root: str
    utterances: Sequence[Utterance]


@dataclass(frozen=True)
class Sampling:
    """What to draw from the training split.

    Attributes:
        valid_share: how much of its audio becomes `valid`, by group; None: nothing.
        hours: at most so much training, spread over the groups; None: all.
        seed: of both.
    """

    valid_share: float | None = None
    hours: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if self.valid_share is not None and not 0 < self.valid_share < 1:
            raise UserError(f"--valid-share is {self.valid_share}, expected between 0 and 1")
        check_hours(self.hours, "--hours")


def build(
    out: PathLike,
    folders: Mapping[str, Sequence[Split]],
    units: Units,
    *,
    builder: str,
    options: Mapping[str, Any],
    inputs: Sequence[PathLike] = (),
    sampling: Sampling | None = None,
    convert: bool = False,
    decode: bool = False,
    jobs: int | None = None,
    force: bool = False,
    **summary: Any,
) -> BuildSummary:
    """Write all splits of all folders below `out`, or nothing.

    Args:
        folders: path below `out` → its splits.
        builder: the command, for `manifest.json`, as are its `options`.
        inputs: what was read; it is never overwritten.
        sampling: what to draw, where each folder has one root.
        convert: make 16 kHz mono FLAC in `out`/audio of other audio, which is refused otherwise.
        decode: read all audio to its end, and warn of silence.
        jobs: threads that read headers and convert.
        force: replace the manifests of an earlier build there.

    Raises:
        UserError: audio that cannot be used or a text that cannot be labelled, naming where it is
            listed; or too little for what shall be drawn.
    """
    out = Path(out)
    # Folders may share utterances, whose audio is then read once.
    all_splits = [split for splits in folders.values() for split in splits]
    unique = {one.audio: (one, split.root) for split in all_splits for one in split.utterances}
    objections = [
        f"{one.where}: {objection}"
        for one, _ in unique.values()
        for objection in [
            control_character(one.text + one.symbols) or units.objection(one.source(units))
        ]
        if objection
    ]
    if objections:
        more = f" ({len(objections):,} texts like that)" if objections[1:] else ""
        raise UserError(objections[0] + more)
    into = manifests_into(
        out, builder, folders=list(folders), inputs=inputs, options=options, force=force
    )
    with into as stage:
        audio, odd = _audio(list(unique.values()), out, convert, decode, jobs)
        if sampling is not None:
            folders = {name: _sampled(splits, audio, sampling) for name, splits in folders.items()}
        written = write_folders(stage, out, folders, audio, units, **summary)
    return replace(written, warnings=(*written.warnings, *counted(odd, "odd audio in {}")))


def write_folders(
    stage: Path,
    out: Path,
    folders: Mapping[str, Sequence[Split]],
    audio: Mapping[str, Row],
    units: Units,
    **more: Any,
) -> BuildSummary:
    """Write `.tsv`, `.wrd`, labels and dictionaries of `folders` to `stage`, which becomes `out`.

    `audio` maps an utterance's audio to the path and length for its row; `more` is of the summary.
    """
    summaries: list[SplitSummary] = []
    warnings: list[str] = []
    written: dict[str, tuple[Utterance, str]] = {}
    shared: list[Fault] = []
    for folder, splits in folders.items():
        place = stage / folder
        place.mkdir(parents=True, exist_ok=True)
        for split in splits:
            placed = [audio[one.audio] for one in split.utterances]
            rows = tuple(Row(_below(split.root, row.path), row.frames) for row in placed)
            manifest = Manifest(split.root, rows)
            write_tsv(place / f"{split.name}.tsv", manifest)
            texts = [one.text for one in split.utterances]
            # Without words there is no .wrd: an utterance of symbols may have a text or not.
            with_words = units.of_words or all(one.symbols for one in split.utterances)
            if with_words and all(texts):
                write_lines(place / f"{split.name}.wrd", texts)
            words = sum(len(text.split()) for text in texts)
            summaries.append(
                SplitSummary(folder or ".", split.name, len(rows), manifest.frames, words)
            )
        training = [split.name for split in splits if is_training(split.name)]
        if not training:
            warnings.append(f"no split of {folder or '.'} is for training: call one train")
        elif not any(kind_of(split.name) == "valid" for split in splits):
            warnings.append(f"no split of {folder or '.'} is for validation: call one dev or valid")
        if len(training) > 1:
            one_of = TRAIN if TRAIN in training else training[0]
            unused = ", ".join(name for name in training if name != one_of)
            warnings.append(f"fairseq trains on one split, {one_of}: {unused} would not be used")
        sources = {split.name: [one.source(units) for one in split.utterances] for split in splits}
        labels = write_labels(place, sources, units)
        for split in splits:
            for one, line in zip(split.utterances, labels[split.name]):
                # Utterances may be in several folders, and repeated in one.
                written[one.audio] = (one, line)
        warnings += training_warnings(place, [split.name for split in splits], units.ending)
        heard = by_content({split.name: [o.audio for o in split.utterances] for split in splits})
        for name, fault in in_two_kinds("audio", heard):
            shared.append(Fault(f"{name}: {fault.kind}", fault.message))
    alphabet = Counter(symbol for _, line in written.values() for symbol in line.split())
    texts = (
        (one.where, one.text if units.of_words else "".join(one.source(units).split()))
        for one, _ in written.values()
    )
    warnings += [*map(str, oddities(texts)), *units.warnings()]
    warnings += counted(shared, "the same audio twice, {}")
    return BuildSummary(
        out=out,
        splits=tuple(summaries),
        commands=training_commands(out, summaries, units.ending, units.post_process),
        warnings=tuple(warnings),
        alphabet=dict(alphabet),
        **more,
    )


def _audio(
    utterances: Sequence[tuple[Utterance, str]],
    out: Path,
    convert: bool,
    decode: bool,
    jobs: int | None,
) -> tuple[dict[str, Row], list[Fault]]:
    """Each one's audio → where it is and its length; and what is odd about some."""
    usable: dict[str, Recording] = {}
    unfit: list[tuple[Utterance, Path]] = []
    odd: list[Fault] = []
    reason = ""
    work = partial(read_recording, decode=decode)
    found = in_threads(work, [one.audio for one, _ in utterances], jobs=jobs)
    for (one, root), recording in zip(utterances, found):
        if isinstance(recording, AudioError):
            raise UserError(f"{one.where}: {recording}")
        usable[one.audio] = recording
        if one.duration is not None and not recording.lasts(one.duration):
            says = f"{one.where}: duration {one.duration:g}, but {one.audio} lasts"
            odd.append(Fault("other duration", f"{says} {recording.seconds:.2f} s"))
        try:
            recording.check_fits()
        except AudioError as error:
            unfit.append((one, _target(out, root, one.audio)))
            reason = reason or f"{one.where}: {str(error).split(';')[0]}"
    if unfit and not convert:
        raise UserError(
            f"{reason}; fairseq needs 16 kHz mono "
            f"({len(unfit)} of {len(utterances)} files are not that): pass --convert"
        )
    taken = {os.path.realpath(one.audio) for one, _ in utterances}
    for one, target in unfit:
        if os.path.realpath(target) in taken:
            says = f"it would be converted into {target}, which is also an input or another's"
            raise UserError(f"{one.where}: {says}; give another --out")
        taken.add(os.path.realpath(target))
    pairs = [(Path(one.audio), target) for one, target in unfit]
    for (one, _), made in zip(unfit, convert_all(pairs, jobs=jobs) if pairs else []):
        if isinstance(made, AudioError):
            raise UserError(f"{one.where}: {made}")
        given = usable[one.audio]
        clipped = given.clipped or made.clipped
        usable[one.audio] = replace(made, missing=given.missing, clipped=clipped)
    audio: dict[str, Row] = {}
    for one, root in utterances:
        recording = usable[one.audio]
        audio[one.audio] = Row(str(recording.path), recording.frames)
        odd += [Fault(kind, f"{one.where}: {says}") for kind, says in recording.oddities()]
        try:
            check_path(root)
            check_path(_below(root, audio[one.audio].path))
        except UserError as error:
            raise UserError(f"{one.where}: {error}") from error
    return audio, odd


def _target(out: Path, root: str, audio: str) -> Path:
    """Where converted audio goes: one place for each source."""
    below = Path(_below(root, audio))
    if below.is_absolute():
        below = Path("elsewhere", *below.parts[1:])
    return Path(os.path.realpath(out)) / "audio" / below.with_name(f"{below.name}.flac")


def _below(root: str, path: str) -> str:
    """`path` below `root`, or as it is where it is elsewhere, or the root is that of all."""
    start = os.path.join(root, "")
    return path[len(start) :] if root != os.sep and path.startswith(start) else path


def _sampled(splits: Sequence[Split], audio: Mapping[str, Row], sampling: Sampling) -> list[Split]:
    """The same splits with what was drawn, by name."""
    root, seed = splits[0].root, sampling.seed
    by_name = {split.name: list(split.utterances) for split in splits}
    if sampling.valid_share is not None:
        train = by_name.get(TRAIN, [])
        groups = [one.drawn_with for one in train]
        if len(set(groups)) < 2:
            raise UserError("train has only one speaker or row, so nothing is left for validation")
        samples = [audio[one.audio].frames for one in train]
        drawn = groups_for_share(groups, samples, sampling.valid_share, seed)
        valid = [*by_name.get(VALID, []), *(one for one in train if one.drawn_with in drawn)]
        by_name[VALID] = sorted(valid, key=lambda one: one.audio)
        by_name[TRAIN] = [one for one in train if one.drawn_with not in drawn]
    if sampling.hours is not None:
        for name in filter(is_training, by_name):
            by_name[name] = _up_to(by_name[name], audio, name, sampling.hours, seed)
    return [Split(name, root, by_name[name]) for name in sorted(by_name)]


def _up_to(
    utterances: Sequence[Utterance], audio: Mapping[str, Row], split: str, hours: float, seed: int
) -> list[Utterance]:
    order = by_rounds(
        utterances, seed, lambda one: Path(one.audio).name, lambda one: one.drawn_with
    )
    chosen, there, more = up_to_hours([(one, audio[one.audio].frames) for one in order], hours)
    if not more and there < hours:
        raise UserError(f"{split} has only {there:.2f} hours, not {hours:g}; give fewer --hours")
    if not chosen:
        raise UserError(f"--hours is {hours}, which is less than one utterance; give more")
    kept = {one.audio for one in chosen}
    return [one for one in utterances if one.audio in kept]
