"""Writes small corpora in the layouts of real ones, and small folders of manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """UTF-8 lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def lines_of(path: Path) -> list[str]:
    """Lines without their ends."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def edit_row(path: Path, row: int, text: str) -> None:
    """Replace a line; 1 is the first."""
    lines = lines_of(path)
    lines[row - 1] = text
    write_lines(path, lines)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def write_audio(path: Path, frames: int, *, rate: int = 16_000, channels: int = 1) -> None:
    """Noise seeded by name and length, so that no two are copies; FLAC by the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng([frames, *path.name.encode()]).normal(0, 0.1, (frames, channels))
    soundfile.write(path, wave, rate)


def write_mp3(path: Path, seconds: float, *, rate: int = 48_000, pitch: float = 300.0) -> None:
    """A tone with a little noise, told apart by pitch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(int(pitch)).normal(0, 0.01, len(time))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time) + noise, rate, format="MP3")


def write_split(
    folder: Path,
    split: str,
    labels: list[str],
    *,
    frames: int = 8000,
    texts: Sequence[str] = (),
    name: str = "{split}-{index}.flac",
) -> None:
    """`{split}.tsv`, `.phn`, texts where given, and audio of `frames` samples and more."""
    rows = [str(folder / "audio")]
    for index in range(len(labels)):
        path = name.format(split=split, index=index)
        write_audio(folder / "audio" / path, frames + index)
        rows.append(f"{path}\t{frames + index}")
    write_lines(folder / f"{split}.tsv", rows)
    write_lines(folder / f"{split}.phn", labels)
    if texts:
        write_lines(folder / f"{split}.wrd", texts)


# LibriSpeech and Libri-light: a chapter's audio, lengths drawn from its numbers, and its texts.
WORDS = ["IT'S", "A", "SMALL", "WORLD", "OF", "QUICK", "BROWN", "FOXES", "JUMPING"]


def write_chapter(part: Path, speaker: int, chapter: int, utterances: int) -> None:
    folder = part / str(speaker) / str(chapter)
    random = np.random.default_rng(speaker * 1000 + chapter)
    lines = []
    for number in range(utterances):
        name = f"{speaker}-{chapter}-{number:04d}"
        write_audio(folder / f"{name}.flac", int(random.integers(800, 4000)))
        lines.append(f"{name} {' '.join(random.choice(WORDS, random.integers(1, 6)))}")
    write_lines(folder / f"{speaker}-{chapter}.trans.txt", lines)


def write_librilight(folder: Path) -> Path:
    """`folder` with `librispeech_finetuning` (all folds, 9h) and `LibriSpeech`."""
    finetuning = folder / "librispeech_finetuning"
    for fold in range(6):
        for index, kind in enumerate(("clean", "other")):
            write_chapter(finetuning / "1h" / str(fold) / kind, 10 + fold, 100 + index, 2)
    # The same chapter in both halves, with other utterances, as in the corpus itself.
    write_chapter(finetuning / "9h" / "clean", 10, 300, 3)
    write_chapter(finetuning / "9h" / "other", 77, 301, 2)
    for index, part in enumerate(("dev-clean", "dev-other", "test-clean", "test-other")):
        write_chapter(folder / "LibriSpeech" / part, 200 + index, 400, 2)
        write_chapter(folder / "LibriSpeech" / part, 30 + index, 401, 1)
    return folder


SPEECHOCEAN = {
    # Utterance: split, speaker, text, phones of each word.
    "000010011": ("train", "0001", "WE CALL", ["W_B IY0_E", "K_B AO1_I L_E"]),
    "000010035": ("train", "0001", "I CALL", ["AY0_S", "K_B AO0_I L_E"]),
    "000020011": ("train", "0002", "WE", ["W_B IY0_E"]),
    "000020035": ("train", "0002", "BEAR", ["B_B EH2_I R_E"]),
    "000040011": ("train", "0004", "BEAR I", ["B_B EH0_I R_E", "AY0_S"]),
    "000030012": ("test", "0003", "IT'S ME", ["IH0_B T_I S_E", "M_B IY0_E"]),
}


def write_speechocean(folder: Path) -> Path:
    """speechocean762's tree; files are 10,000 samples and more."""
    phones = []
    audio = {name: f"WAVE/SPEAKER{entry[1]}/{name}.WAV" for name, entry in SPEECHOCEAN.items()}
    for split in ("train", "test"):
        here = {name: entry for name, entry in SPEECHOCEAN.items() if entry[0] == split}
        texts = [f"{name}\t{entry[2]}" for name, entry in here.items()]
        write_lines(folder / split / "text", texts[::-1])
        write_lines(folder / split / "utt2spk", [f"{name} {e[1]}" for name, e in here.items()])
        write_lines(folder / split / "wav.scp", [f"{name}\t{audio[name]}" for name in here])
    for number, (name, (_, _, _, words)) in enumerate(SPEECHOCEAN.items()):
        phones += [f"{name}.{word}\t{symbols}" for word, symbols in enumerate(words)]
        # libsndfile goes by the ending, which is WAV in capitals there.
        write_audio(folder / audio[name], 10_000 + number)
    write_lines(folder / "resource" / "text-phone", phones)
    return folder


MBOSHI = {
    "train/abiayi_Dico18_1": "wa ámitúúngá itsωώ",
    "train/abiayi_Dico18_2": "s éléngé",
    "train/kouarata_Part3_1": "s éléngé",
    "train/martial_Dico2_7": "nέ",
    "dev/abiayi_Dico18_3": "ngá",
}


def write_mboshi(folder: Path) -> Path:
    """Mboshi's tree; files are 10,000 samples and more."""
    for number, (name, text) in enumerate(MBOSHI.items()):
        path = folder / "full_corpus_newsplit" / name
        write_audio(path.with_name(f"{path.name}.wav"), 10_000 + number)
        write_lines(path.with_name(f"{path.name}.mb.cleaned"), [text])
        write_lines(path.with_name(f"{path.name}.fr"), ["Un mot"])
    return folder


# Common Voice: (speaker, clip id, sentence).
Clips = Sequence[tuple[str, str, str]]
COLUMNS = "client_id path sentence up_votes down_votes age gender accents variant locale segment"
SENTENCES = {
    "nl": ["Ik vind dat een dubieuze procedure.", "Het regent al dagen.", "Waar is de fiets?"],
    "ru": ["Привет, как дела?", "Сегодня хорошая погода.", "Где мой велосипед?"],
    "zh-TW": ["我們今天去臺北吃飯。", "你好嗎？", "這本書很有意思。"],  # noqa: RUF001
}


def clips_of(lang: str, part: str, speakers: int, clips: int) -> list[tuple[str, str, str]]:
    """So many clips of so many speakers, ids falling; a number ends each sentence."""
    number = 1 + ("train", "dev", "test", "extra").index(part)
    sentences = SENTENCES[lang]
    return [
        (
            f"{part}-{speaker}",
            f"common_voice_{lang}_{part}{speaker}{clip}",
            f"{sentences[(speaker + clip) % len(sentences)]} {number}{speaker}{clip}",
        )
        for speaker in reversed(range(speakers))
        for clip in range(clips)
    ]


def write_table(path: Path, lang: str, rows: Clips) -> None:
    """A table of a release, as Common Voice writes it."""
    cells = ("{}\t{}.mp3\t{}\t2\t0\t\t\t\t\t{}\t".format(*row, lang) for row in rows)
    write_lines(path, ["\t".join(COLUMNS.split()), *cells])


def write_release(folder: Path, lang: str, tables: Mapping[str, Clips]) -> Path:
    """`folder`/`lang` with the tables and a clip of each row; returns it."""
    for name, rows in tables.items():
        write_table(folder / lang / f"{name}.tsv", lang, rows)
    for index, name in enumerate(sorted({name for rows in tables.values() for _, name, _ in rows})):
        path = folder / lang / "clips" / f"{name}.mp3"
        write_mp3(path, 2.4 + 0.1 * (index % 3), pitch=200 + 10 * index)
    return folder / lang
