"""Common Voice with phones: manifests, and its clips as 16 kHz FLAC.

Two ways, both with the audio of a release's `clips/`: the published splits and phones that the
paper used (`commonvoice_published`), or any release's own tables, with phones by espeak-ng
(`commonvoice_release`, `phones`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.audio.convert import convert_all
from parp_fairseq.manifests.audio.headers import AudioError
from parp_fairseq.manifests.corpora.commonvoice_published import (
    RELEASE_NAMES,
    opened,
    read_published,
)
from parp_fairseq.manifests.corpora.commonvoice_release import (
    SPLITS,
    Clip,
    choose_splits,
    find_release,
    own_splits,
    read_clips,
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
"""What the published splits hold of each language, about."""


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
    force: bool = False,
) -> BuildSummary:
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
        test_hours: of test, likewise (1 or what there is).
        seed: of that choice, which shares no speaker between train, dev and test.
        voice: espeak-ng's name of the language, where `lang` does not tell.
        audio: folder for the FLAC files (default: `out`/audio). Those finished stay.
        jobs: threads that convert (default: the CPU's cores); no output depends on it.
        force: replace the manifests of an earlier build there.

    Clips that cannot be used are left out, and the summary says how many and why. The
    manifests are written when all else is done. Raises UserError naming file and row for input
    that cannot be understood, and where a split would be empty.
    """
    lang = RELEASE_NAMES.get(lang, lang)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", lang):
        raise UserError(f"{lang!r} is no language code; give one such as nl or zh-TW")
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs must be at least 1 (got {jobs})")
    chosen = {"hours": hours, "dev_hours": dev_hours, "test_hours": test_hours}
    of_option = {f"--{name.replace('_', '-')}": value for name, value in chosen.items()}
    for option, value in of_option.items():
        check_hours(value, option)
    given = [option for option in ("--dev-hours", "--test-hours") if of_option[option] is not None]
    if splits is not None and (given or voice is not None):
        raise UserError(f"{[*given, '--voice'][0]} is not supported by --splits; leave it out")
    if hours is None and given:
        raise UserError(f"{given[0]} needs --hours; give both or neither")
    folder = find_release(Path(release), lang)
    out = Path(out)
    flacs = (out / "audio" if audio is None else Path(audio)).resolve()
    check_path(str(flacs))

    left = LeftOut()
    notes: list[str] = []
    inventory: list[str] | None = None
    into = manifests_into(
        out,
        "parp manifest commonvoice",
        inputs=[folder],
        options={
            "release": str(folder),
            "lang": lang,
            "splits": None if splits is None else str(Path(splits).resolve()),
            **chosen,
            "seed": seed,
            "voice": voice,
        },
        force=force,
    )
    with into as stage:
        if splits is not None:
            with opened(Path(splits), lang) as published:
                clips, inventory = read_published(published, hours or 1.0, left)
            texts: dict[str, Clip] = {}
            if (folder / "validated.tsv").is_file():
                # What is wrong with its other rows is no matter here.
                texts = read_clips(folder / "validated.tsv", lang, LeftOut())
            for those in clips.values():
                those[:] = [replace(c, text=texts.get(c.id, c).text) for c in those]
        else:
            phonemizer = Phonemizer(lang, voice)
            notes.append(f"phones of {phonemizer.source}")
            if hours is None:
                clips, note = own_splits(folder, lang, left)
            else:
                wanted = (hours, dev_hours or DEV_HOURS, test_hours or TEST_HOURS)
                hours_of = dict(zip(SPLITS, wanted))
                clips, note = choose_splits(folder, lang, hours_of, seed, left, jobs)
            notes += note
            for those in clips.values():
                for clip in those:
                    if phonemizer.objection(clip.text):
                        left.add("sentence with letters or signs that espeak-ng spells", clip.id)
                those[:] = [clip for clip in those if not phonemizer.objection(clip.text)]
                spoken = phonemizer([clip.text for clip in those])
                for clip, phones in zip(those, spoken):
                    if not phones:
                        left.add("no phones in the sentence", clip.id)
                those[:] = [replace(c, phones=phones) for c, phones in zip(those, spoken) if phones]
            notes += phonemizer.warnings()
        names = sorted(clip.id for those in clips.values() for clip in those)
        pairs = [(folder / "clips" / f"{name}.mp3", flacs / f"{name}.flac") for name in names]
        rows: dict[str, Row] = {}
        for name, (_, flac), samples in zip(names, pairs, convert_all(pairs, jobs=jobs)):
            if isinstance(samples, AudioError):
                left.add(samples.problem, name)
            else:
                rows[name] = Row(str(flac), samples)
        written = []
        for split in SPLITS:
            usable = [clip for clip in sorted(clips[split], key=lambda c: c.id) if clip.id in rows]
            if split == "train":
                usable = [clip for clip in usable if _trains(clip, rows[clip.id].frames, left)]
            if not usable:
                why = "; ".join(left.lines()) or "the release has none"
                raise UserError(f"{split} would be empty, so nothing was written ({why})")
            without = sum(not clip.text for clip in usable)
            if without:
                notes.append(f"no {split}.wrd: validated.tsv lacks the text of {without:,} clips")
            utterances = [
                Utterance(c.id, rows[c.id].path, c.text, symbols=c.phones) for c in usable
            ]
            written.append(Split(split, str(flacs), utterances))
        audio_rows = {row.path: row for row in rows.values()}
        more = {"left": left, "notes": tuple(notes)}
        return write_folders(stage, out, {"": written}, audio_rows, Symbols(inventory), **more)


def _trains(clip: Clip, samples: int, left: LeftOut) -> bool:
    """Whether a run could use the clip."""
    if samples < least_samples(MASK_LENGTH):
        left.add("train clip shorter than span masks need", clip.id)
    elif needed_frames(clip.phones.split()) > ctc_frames(samples):
        left.add("train clip with more phones than CTC can align", clip.id)
    else:
        return True
    return False
