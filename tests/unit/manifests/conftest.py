from __future__ import annotations

from pathlib import Path

import pytest
from small_corpora import write_chapter


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A folder with `librispeech_finetuning` (all folds, 9h) and `LibriSpeech`."""
    finetuning = tmp_path / "librispeech_finetuning"
    for fold in range(6):
        for index, kind in enumerate(("clean", "other")):
            write_chapter(finetuning / "1h" / str(fold) / kind, 10 + fold, 100 + index, 2)
    # The same chapter in both halves, with other utterances, as in the corpus itself.
    write_chapter(finetuning / "9h" / "clean", 10, 300, 3)
    write_chapter(finetuning / "9h" / "other", 77, 301, 2)
    for index, part in enumerate(("dev-clean", "dev-other", "test-clean", "test-other")):
        write_chapter(tmp_path / "LibriSpeech" / part, 200 + index, 400, 2)
        write_chapter(tmp_path / "LibriSpeech" / part, 30 + index, 401, 1)
    return tmp_path
