"""Common Voice with phones: manifests of a release, and its clips as 16 kHz FLAC.

What its tables say is in `commonvoice_release`; phones are espeak-ng's (`phones`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.audio.convert import convert_all
from parp_fairseq.manifests.audio.headers import AudioError
from parp_fairseq.manifests.corpora.commonvoice_release import (
    SPLITS,
    Clip,
    choose_splits,
    find_release,
    own_splits,
)
from parp_fairseq.manifests.labels.ctc import MASK_LENGTH, ctc_frames, least_samples, needed_frames
from parp_fairseq.manifests.labels.labelling import Symbols
from parp_fairseq.manifests.labels.phones import Phonemizer
from parp_fairseq.manifests.output_folder import manifests_into
from parp_fairseq.manifests.pipeline import Split, Utterance, write_folders
from parp_fairseq.manifests.sampling import check_hours
from parp_fairseq.manifests.summary import BuildSummary, LeftOut
from parp_fairseq.manifests.tsv import Row, check_path

DEV_HOURS = 0.3
TEST_HOURS = 1.0
"""What Rivière et al.'s splits, which the paper used, hold of each language, about."""

Clips = dict[str, list[Clip]]


def build_commonvoice(
    release: PathLike,
    lang: str,
    out: PathLike,
    *,
    hours: float | None = None,
    seed: int = 1,
    voice: str | None = None,
    jobs: int | None = None,
    force: bool = False,
) -> BuildSummary:
    """Write train, dev and test as `.tsv`, `.phn` and `.wrd`.

    Args:
        release: a language's folder of a release, or one above it.
        lang: the release's code of the language (nl, sv-SE, zh-TW).
        out: folder for the manifests, `dict.phn.txt` and `audio/`, whose finished files stay.
        hours: how much to choose for training; None takes the release's train, dev and test as
            they are.
        seed: of that choice, which shares no speaker between train, dev and test.
        voice: espeak-ng's name of the language, where `lang` does not tell.
        jobs: threads that convert (default: the CPU's cores); no output depends on it.
        force: replace the manifests of an earlier build there.

    Clips that cannot be used are left out, and the summary says how many and why. The
    manifests are written when all else is done. Raises UserError naming file and row for input
    that cannot be understood, and where a split would be empty.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", lang):
        raise UserError(f"{lang!r} is no language code; give one such as nl or zh-TW")
    check_hours(hours, "--hours")
    folder = find_release(Path(release), lang)
    out = Path(out)
    flacs = (out / "audio").resolve()
    check_path(str(flacs))

    left = LeftOut()
    options = {"release": str(folder), "lang": lang, "hours": hours, "seed": seed, "voice": voice}
    builder = "parp manifest commonvoice"
    into = manifests_into(out, builder, inputs=[folder], options=options, force=force)
    with into as stage:
        clips, notes = _with_phones(folder, lang, hours, seed, voice, left, jobs)
        rows = _converted(clips, folder, flacs, left, jobs)
        written = []
        for split in SPLITS:
            usable = [clip for clip in sorted(clips[split], key=lambda c: c.id) if clip.id in rows]
            if split == "train":
                usable = [clip for clip in usable if _trains(clip, rows[clip.id].frames, left)]
            if not usable:
                why = "; ".join(left.lines()) or "the release has none"
                raise UserError(f"{split} would be empty, so nothing was written ({why})")
            utterances = [
                Utterance(c.id, rows[c.id].path, c.text, symbols=c.phones) for c in usable
            ]
            written.append(Split(split, str(flacs), utterances))
        audio = {row.path: row for row in rows.values()}
        more = {"left": left, "notes": tuple(notes)}
        return write_folders(stage, out, {"": written}, audio, Symbols(), **more)


def _with_phones(
    folder: Path,
    lang: str,
    hours: float | None,
    seed: int,
    voice: str | None,
    left: LeftOut,
    jobs: int | None,
) -> tuple[Clips, list[str]]:
    """A release's clips with phones, its own splits or so many hours; and notes."""
    phonemizer = Phonemizer(lang, voice)
    if hours is None:
        clips, notes = own_splits(folder, lang, left)
    else:
        sizes = dict(zip(SPLITS, (hours, DEV_HOURS, TEST_HOURS)))
        clips, notes = choose_splits(folder, lang, sizes, seed, left, jobs)
    for split, those in clips.items():
        readable = []
        for clip in those:
            if phonemizer.objection(clip.text):
                left.add("sentence with letters or signs that espeak-ng spells", clip.id)
            else:
                readable.append(clip)
        clips[split] = []
        for clip, phones in zip(readable, phonemizer([clip.text for clip in readable])):
            if phones:
                clips[split].append(replace(clip, phones=phones))
            else:
                left.add("no phones in the sentence", clip.id)
    return clips, [f"phones of {phonemizer.source}", *notes, *phonemizer.warnings()]


def _converted(
    clips: Clips, folder: Path, flacs: Path, left: LeftOut, jobs: int | None
) -> dict[str, Row]:
    """Clip id → its FLAC file and length; what cannot be used is counted in `left`."""
    names = sorted(clip.id for those in clips.values() for clip in those)
    pairs = [(folder / "clips" / f"{name}.mp3", flacs / f"{name}.flac") for name in names]
    rows: dict[str, Row] = {}
    for name, (_, flac), made in zip(names, pairs, convert_all(pairs, jobs=jobs)):
        if isinstance(made, AudioError):
            left.add(made.problem, name)
        elif made.silent:
            left.add("silent", name)
        else:
            rows[name] = Row(str(flac), made.frames)
    return rows


def _trains(clip: Clip, samples: int, left: LeftOut) -> bool:
    """Whether a run could use the clip."""
    if samples < least_samples(MASK_LENGTH):
        left.add("train clip shorter than span masks need", clip.id)
    elif needed_frames(clip.phones.split()) > ctc_frames(samples):
        left.add("train clip with more phones than CTC can align", clip.id)
    else:
        return True
    return False
