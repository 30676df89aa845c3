"""Any corpus, from a table of its audio and texts."""

from __future__ import annotations

import os
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.corpora.corpus_table import read_table
from parp_fairseq.manifests.corpora.utterances import (
    TRAIN,
    VALID_SHARE,
    Utterance,
    write_utterances,
)
from parp_fairseq.manifests.labels.labelling import make_units
from parp_fairseq.manifests.summary import BuildSummary


def build_table(
    table: PathLike,
    out: PathLike,
    *,
    units: str = "letters",
    vocab_size: int | None = None,
    lang: str | None = None,
    valid_share: float | None = None,
    seed: int = 1,
    convert: bool = False,
    jobs: int | None = None,
    progress: bool | None = None,
    force: bool = False,
) -> BuildSummary:
    """Write `{split}.tsv`, `.wrd`, labels and dictionary of what `table` lists.

    Args:
        table: a `.tsv`, `.csv` or `.jsonl` with the columns path and text, and if need be
            split and speaker. Relative paths start from its folder.
        out: folder to write into.
        units: letters (those of the texts as they stand), phones (by
            espeak-ng in `lang`; without it the texts are phones already) or spm (`vocab_size`
            pieces, learnt from the training split).
        valid_share: without a column split, how much of the audio `valid` gets (0.1); no
            speaker, where there is a column of them, is in train and valid both.
        seed: of that choice.
        convert: audio that is not 16 kHz mono FLAC or WAV becomes that in `out`/audio, and what
            was converted before is kept; otherwise it is refused.
        jobs: threads that read headers and convert.
        progress: bars on stderr; None means where stderr is a terminal.
        force: replace the manifests of an earlier build there.

    The manifests are written when all else is done. Raises UserError naming the table's row.
    """
    table = Path(table)
    rows = read_table(table)
    if valid_share is not None and rows[0].split:
        raise UserError(f"{table} has a column split; leave --valid-share out")
    if not rows[0].split:
        if len({row.speaker or str(row.audio) for row in rows}) < 2:
            raise UserError(
                f"{table} has one {'speaker' if rows[0].speaker else 'row'} and no column split, "
                "so nothing is left for validation; add the column split"
            )
        valid_share = VALID_SHARE if valid_share is None else valid_share
    utterances = [
        Utterance(f"{table} row {row.number}", row.audio, row.text, row.split or TRAIN, row.speaker)
        for row in rows
    ]
    return write_utterances(
        utterances,
        out,
        builder="parp manifest table",
        root=os.path.dirname(os.path.realpath(table)),
        units=make_units(units, vocab_size=vocab_size, lang=lang),
        inputs=[table],
        options={
            "table": str(table.resolve()),
            "units": units,
            "vocab_size": vocab_size,
            "lang": lang,
            "valid_share": valid_share,
            "seed": seed,
            "convert": convert,
        },
        valid_share=valid_share,
        seed=seed,
        convert=convert,
        jobs=jobs,
        progress=progress,
        force=force,
    )
