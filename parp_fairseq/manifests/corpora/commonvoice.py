"""Common Voice with phones: manifests, and its clips as 16 kHz FLAC.

Two ways, both with the audio of a release's `clips/`: the published splits and phones that the
paper used (`commonvoice_published`), or any release's own tables, with phones by espeak-ng
(`commonvoice_release`, `phones`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_lines
from parp_fairseq.machine import cores
from parp_fairseq.manifests.audio.convert import convert_all, measure_all
from parp_fairseq.manifests.corpora.commonvoice_left import LeftOut
from parp_fairseq.manifests.corpora.commonvoice_published import (
    RELEASE_NAMES,
    opened,
    read_published,
)
from parp_fairseq.manifests.corpora.commonvoice_release import (
    SPLITS,
    Recording,
    check_hours,
    choose,
    disjoint_candidates,
    find_release,
    read_table,
    without_overlap,
)
from parp_fairseq.manifests.labels.ctc import MASK_LENGTH, ctc_frames, least_samples, needed_frames
from parp_fairseq.manifests.labels.phones import Phonemizer
from parp_fairseq.manifests.labels.units import dictionary_lines
from parp_fairseq.manifests.output import manifests_into
from parp_fairseq.manifests.overrides import training_overrides
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary
from parp_fairseq.manifests.tsv import Manifest, Row, write_tsv

DEV_HOURS = 0.3
TEST_HOURS = 1.0
"""What the published splits hold of each language, about."""


@dataclass(frozen=True)
class Clip:
    """A clip's phones, a space between them, and its text where that is known."""

    phones: str
    text: str | None = None


@dataclass(frozen=True)
class CommonVoiceSummary(BuildSummary):
    """What was written, what was left out and why, and what else is worth knowing."""

    left: LeftOut = field(default_factory=LeftOut)
    notes: tuple[str, ...] = ()

    def render(self) -> str:
        """The table of splits, then a line for each reason and note."""
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([super().render(), *self.left.lines(), *notes])

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            **super().to_json(),
            "left_out": self.left.to_json(),
            "notes": list(self.notes),
        }


@dataclass
class _Plan:
    """Clips by split and id, and the dictionary's order (None: by how often train holds them)."""

    splits: dict[str, dict[str, Clip]]
    inventory: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def build_commonvoice(
    release: PathLike,
    lang: str,
    out: PathLike,
    *,
    splits: PathLike | None = None,
    hours: float | None = None,
    dev_hours: float | None = None,
    test_hours: float | None = None,
    seed: int = 1,
    voice: str | None = None,
    audio: PathLike | None = None,
    jobs: int | None = None,
    progress: bool | None = None,
    force: bool = False,
) -> CommonVoiceSummary:
    """Write train, dev and test as `.tsv`, `.phn` and, where text is known, `.wrd`.

    Args:
        release: a language's folder of a release, or one above it.
        lang: the release's code of the language (nl, sv-SE, zh-TW).
        out: folder for the manifests and `dict.phn.txt`.
        splits: the published splits, as a folder or the archive. Without it the release's own
            tables are used, with phones by espeak-ng.
        hours: with `splits` 1 (the default) or 5, of the published lists. Else how much to
            choose for training; None takes the release's train, dev and test as they are.
        dev_hours: of dev, where hours are chosen (0.3 or what there is).
        test_hours: of test, where hours are chosen (1 or what there is).
        seed: of that choice, which shares no speaker between train, dev and test.
        voice: espeak-ng's name of the language, where `lang` does not tell.
        audio: folder for the FLAC files (default: `out`/audio). Those finished stay.
        jobs: threads that convert (default: the CPU's cores); no output depends on it.
        progress: bars on stderr; None means where stderr is a terminal.
        force: replace the manifests of an earlier build there.

    Clips that cannot be used are left out, and the summary tells how many and why. The
    manifests are written when all else is done. Raises UserError naming file and row for input
    that cannot be understood, and where a split would be empty.
    """
    lang = RELEASE_NAMES.get(lang, lang)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", lang):
        raise UserError(f"{lang!r} is no language code; give one such as nl or zh-TW")
    jobs = cores() if jobs is None else jobs
    if jobs < 1:
        raise UserError(f"jobs is {jobs}, expected 1 or more")
    chosen = {"--dev-hours": dev_hours, "--test-hours": test_hours}
    for option, value in {"--hours": hours, **chosen}.items():
        if value is not None:
            check_hours(value, option)
    given = [option for option, value in chosen.items() if value is not None]
    if splits is not None and (given or voice is not None):
        raise UserError(f"{[*given, '--voice'][0]} does not go with --splits; leave it out")
    if hours is None and given:
        raise UserError(f"{given[0]} does not go without --hours; give both or neither")
    folder = find_release(Path(release), lang)
    out = Path(out)
    flacs = (out / "audio" if audio is None else Path(audio)).resolve()
    _check_root(flacs)

    left = LeftOut()
    options = {
        "release": str(folder),
        "lang": lang,
        "splits": None if splits is None else str(Path(splits).resolve()),
        "hours": hours,
        "dev_hours": dev_hours,
        "test_hours": test_hours,
        "seed": seed,
        "voice": voice,
    }
    into = manifests_into(
        out, "parp manifest commonvoice", inputs=[folder], options=options, force=force
    )
    with into as stage:
        if splits is not None:
            plan = _published(folder, lang, Path(splits), 1.0 if hours is None else hours, left)
        else:
            wanted = None
            if hours is not None:
                wanted = {"test": test_hours or TEST_HOURS, "dev": dev_hours or DEV_HOURS}
                wanted["train"] = hours
            plan = _own(folder, lang, wanted, seed, voice, jobs, progress, left)
        _check_symbols(plan)
        samples = _convert(plan, folder / "clips", flacs, jobs, progress, left)
        _drop_untrainable(plan, samples, left)
        return _write(plan, samples, flacs, stage, out, left)


def _published(folder: Path, lang: str, splits: Path, hours: float, left: LeftOut) -> _Plan:
    with opened(splits, lang) as published:
        lists = read_published(published, hours, left)
    texts: dict[str, Recording] = {}
    if (folder / "validated.tsv").is_file():
        # What is wrong with its other rows is no matter here.
        texts = read_table(folder / "validated.tsv", lang, LeftOut())
    clips = {
        split: {
            name: Clip(phones, texts[name].sentence if name in texts else None)
            for name, phones in rows.items()
        }
        for split, rows in lists.splits.items()
    }
    return _Plan(clips, lists.inventory)


def _own(
    folder: Path,
    lang: str,
    wanted: dict[str, float] | None,
    seed: int,
    voice: str | None,
    jobs: int,
    progress: bool | None,
    left: LeftOut,
) -> _Plan:
    phonemizer = Phonemizer(lang, voice, "--voice")
    notes = [f"phones of {phonemizer.source}"]
    if wanted is None:
        tables = {split: read_table(folder / f"{split}.tsv", lang, left) for split in SPLITS}
        without_overlap(tables, left)
        splits = {split: list(table.values()) for split, table in tables.items()}
        shared = _shared_speakers(splits)
        if shared:
            notes.append(f"{shared:,} speakers are in more than one split, as in the release")
    else:
        tables = {
            name: read_table(folder / f"{name}.tsv", lang, left)
            for name in ("validated", "dev", "test")
        }
        splits = _choose(folder, tables, wanted, seed, jobs, progress, left)
        notes.append(f"seed {seed}; no speaker is in two of train, dev and test")
    clips: dict[str, dict[str, Clip]] = {}
    for split, recordings in splits.items():
        clips[split] = {}
        phones = phonemizer([r.sentence for r in recordings], progress=progress)
        for recording, line in zip(recordings, phones):
            if line:
                clips[split][recording.id] = Clip(line, recording.sentence)
            else:
                left.add("no phones in the sentence", recording.id)
    return _Plan(clips, notes=notes)


def _choose(
    folder: Path,
    tables: dict[str, dict[str, Recording]],
    wanted: dict[str, float],
    seed: int,
    jobs: int,
    progress: bool | None,
    left: LeftOut,
) -> dict[str, list[Recording]]:
    candidates = disjoint_candidates(tables["validated"], tables["dev"], tables["test"], left)

    def measure(names: Sequence[str]):
        return measure_all([folder / "clips" / f"{name}.mp3" for name in names], jobs=jobs)

    splits = {}
    for split in SPLITS:
        splits[split], hours, more = choose(
            candidates[split], wanted[split], seed, measure, left, what=split, progress=progress
        )
        if split == "train" and not more:
            raise UserError(
                f"{folder / 'validated.tsv'} has only {hours:.2f} hours of speakers outside dev "
                f"and test, not {wanted[split]:g}; give fewer --hours"
            )
    return splits


def _shared_speakers(splits: dict[str, list[Recording]]) -> int:
    counts = Counter(
        speaker for rows in splits.values() for speaker in {row.speaker for row in rows}
    )
    return sum(count > 1 for count in counts.values())


def _convert(
    plan: _Plan,
    clips: Path,
    flacs: Path,
    jobs: int,
    progress: bool | None,
    left: LeftOut,
) -> dict[str, int]:
    """Clip id → samples of its FLAC file, for those that could be converted."""
    names = sorted(name for rows in plan.splits.values() for name in rows)
    pairs = [(clips / f"{name}.mp3", flacs / f"{name}.flac") for name in names]
    samples = {}
    for name, audio in zip(names, convert_all(pairs, jobs=jobs, progress=progress)):
        if audio.fault:
            left.add(audio.fault, name)
        else:
            samples[name] = audio.samples
    return samples


def _drop_untrainable(plan: _Plan, samples: dict[str, int], left: LeftOut) -> None:
    """Take out of train what a run would be refused for."""
    train = plan.splits["train"]
    for name in sorted(train):
        if name not in samples:
            continue
        if samples[name] < least_samples(MASK_LENGTH):
            left.add("train clip shorter than span masks need", name)
        elif needed_frames(train[name].phones.split()) > ctc_frames(samples[name]):
            left.add("train clip with more phones than CTC can align", name)
        else:
            continue
        del train[name]


def _write(
    plan: _Plan, samples: dict[str, int], flacs: Path, stage: Path, out: Path, left: LeftOut
) -> CommonVoiceSummary:
    notes = list(plan.notes)
    summaries = []
    for split in SPLITS:
        names = sorted(name for name in plan.splits[split] if name in samples)
        if not names:
            why = "; ".join(left.lines()) or "the release has none"
            raise UserError(f"{split} would be empty, so nothing was written ({why})")
        clips = [plan.splits[split][name] for name in names]
        rows = tuple(Row(f"{name}.flac", samples[name]) for name in names)
        manifest = Manifest(str(flacs), rows)
        write_tsv(stage / f"{split}.tsv", manifest)
        write_lines(stage / f"{split}.phn", (clip.phones for clip in clips))
        texts = [clip.text for clip in clips if clip.text is not None]
        if len(texts) == len(clips):
            write_lines(stage / f"{split}.wrd", texts)
        else:
            notes.append(
                f"no {split}.wrd: validated.tsv lacks the text of {len(clips) - len(texts):,} clips"
            )
        words = sum(len(text.split()) for text in texts)
        summaries.append(SplitSummary(".", split, len(rows), manifest.frames, words))
    write_lines(stage / "dict.phn.txt", _dictionary(plan, samples))
    overrides = training_overrides(out, summaries, "phn", "none")
    return CommonVoiceSummary(
        out, tuple(summaries), overrides=overrides, left=left, notes=tuple(notes)
    )


def _dictionary(plan: _Plan, samples: dict[str, int]) -> list[str]:
    """`phone count` rows: every phone of the three splits, with its count in train."""
    counts: Counter[str] = Counter()
    for split in SPLITS:
        for name, clip in plan.splits[split].items():
            if name in samples:
                # dev and test give their phones a row, so that they can be scored, not a count.
                counts.update(clip.phones.split() if split == "train" else ())
                counts.update(dict.fromkeys(clip.phones.split(), 0))
    if plan.inventory is None:
        return dictionary_lines(counts)
    return [f"{phone} {counts[phone]}" for phone in plan.inventory]


def _check_symbols(plan: _Plan) -> None:
    phones = {
        phone for rows in plan.splits.values() for c in rows.values() for phone in c.phones.split()
    }
    for phone in plan.inventory or sorted(phones):
        if phone.split() != [phone] or phone in SPECIAL_SYMBOLS:
            raise UserError(f"the phone {phone!r} cannot stand in a fairseq dictionary; rename it")


def _check_root(folder: Path) -> None:
    root = str(folder)
    if root != root.strip() or any(c in root for c in "\t\r\n"):
        raise UserError(
            f"{root!r}: a manifest cannot hold a folder with tabs, line ends or outer spaces; "
            "choose another output folder"
        )
