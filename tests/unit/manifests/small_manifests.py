"""Writes small folders of manifests with sound audio."""

from __future__ import annotations

from pathlib import Path

from small_corpora import write_audio


def write_split(
    folder: Path,
    split: str,
    labels: list[str],
    *,
    ending: str = "phn",
    frames: int = 8000,
    texts: list[str] | None = None,
    name: str = "{split}-{index}.flac",
) -> None:
    """`{split}.tsv`, labels, texts where given, and audio of `frames` samples and more."""
    rows = [str(folder / "audio")]
    for index in range(len(labels)):
        path = name.format(split=split, index=index)
        write_audio(folder / "audio" / path, frames + index)
        rows.append(f"{path}\t{frames + index}")
    write_text(folder / f"{split}.tsv", rows)
    write_text(folder / f"{split}.{ending}", labels)
    if texts:
        write_text(folder / f"{split}.wrd", texts)


def write_text(path: Path, lines: list[str]) -> None:
    """UTF-8 lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def lines_of(path: Path) -> list[str]:
    """Lines without their ends."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def edit_row(path: Path, row: int, text: str) -> None:
    """Replace a line; 1 is the first."""
    lines = lines_of(path)
    lines[row - 1] = text
    write_text(path, lines)
