"""Audio that disappears in the middle of training is named by its row."""

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.tasks.parp import NamedRows


class Audio(dict):
    skipped_indices = frozenset({1})


def test_audio_that_cannot_be_read_is_named_by_its_row(tmp_path):
    tsv = tmp_path / "train.tsv"
    tsv.write_text("/root\na.wav\t9\nshort.wav\t1\nb.wav\t9\n")
    rows = NamedRows(Audio(), tsv)
    with pytest.raises(UserError, match=r"train\.tsv row 4: b\.wav cannot be read"):
        rows[1]
