"""Writes small corpora of noise in the layouts of corpora that one folder holds."""

from __future__ import annotations

from pathlib import Path

from small_corpora import write_audio

SPEECHOCEAN = {
    # Utterance: split, speaker, text, phones of each word.
    "000010011": ("train", "0001", "WE CALL", ["W_B IY0_E", "K_B AO1_I L_E"]),
    "000010035": ("train", "0001", "I CALL", ["AY0_S", "K_B AO0_I L_E"]),
    "000020011": ("train", "0002", "WE", ["W_B IY0_E"]),
    "000020035": ("train", "0002", "BEAR", ["B_B EH2_I R_E"]),
    "000040011": ("train", "0004", "BEAR I", ["B_B EH0_I R_E", "AY0_S"]),
    "000030012": ("test", "0003", "IT'S ME", ["IH0_B T_I S_E", "M_B IY0_E"]),
}

MBOSHI = {
    "train/abiayi_Dico18_1": "wa ámitúúngá itsωώ",
    "train/abiayi_Dico18_2": "s éléngé",
    "train/kouarata_Part3_1": "s éléngé",
    "train/martial_Dico2_7": "nέ",
    "dev/abiayi_Dico18_3": "ngá",
}


def write_speechocean(folder: Path) -> Path:
    """speechocean762's tree; files are 10,000 samples and more."""
    for split in ("train", "test"):
        here = [name for name, entry in SPEECHOCEAN.items() if entry[0] == split]
        write(
            folder / split / "text", [f"{name}\t{SPEECHOCEAN[name][2]}" for name in reversed(here)]
        )
        write(folder / split / "utt2spk", [f"{name} {SPEECHOCEAN[name][1]}" for name in here])
        paths = [f"{name}\t{_speechocean_audio(name)}" for name in here]
        write(folder / split / "wav.scp", paths)
    lines = []
    for number, (name, (_, _, _, words)) in enumerate(SPEECHOCEAN.items()):
        lines += [f"{name}.{word}\t{phones}" for word, phones in enumerate(words)]
        # libsndfile goes by the ending, which is WAV in capitals there.
        write_audio(folder / _speechocean_audio(name), 10_000 + number)
    write(folder / "resource" / "text-phone", lines)
    return folder


def _speechocean_audio(name: str) -> str:
    return f"WAVE/SPEAKER{SPEECHOCEAN[name][1]}/{name}.WAV"


def write_mboshi(folder: Path) -> Path:
    """Mboshi's tree; files are 10,000 samples and more."""
    for number, (name, text) in enumerate(MBOSHI.items()):
        path = folder / "full_corpus_newsplit" / name
        write_audio(path.with_name(f"{path.name}.wav"), 10_000 + number)
        write(path.with_name(f"{path.name}.mb.cleaned"), [text])
        write(path.with_name(f"{path.name}.fr"), ["Un mot"])
    return folder


def write(path: Path, lines: list[str]) -> None:
    """UTF-8 lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
