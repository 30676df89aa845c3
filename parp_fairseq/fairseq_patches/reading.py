"""How fairseq reads manifests and labels."""

from __future__ import annotations

from functools import partial

from fairseq.data.audio import raw_audio_dataset
from fairseq.tasks import audio_finetuning


def read_utf8() -> None:
    """Read manifests and labels as UTF-8 whatever the locale, as fairseq reads dictionaries.

    It opens them without an encoding (`AudioFinetuningTask.load_dataset`: `open(label_path, "r")`,
    `FileAudioDataset.__init__`: `open(manifest_path, "r")`): where the locale is Latin-1, every
    letter beyond ASCII becomes `<unk>`, in training and in references.
    """
    for module in (audio_finetuning, raw_audio_dataset):
        module.open = partial(open, encoding="utf-8")
