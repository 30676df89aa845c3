"""Scoring a fine-tuned model: transcripts by greedy CTC decoding, and their error rate."""

from __future__ import annotations

from parp_fairseq.evaluation.decode import MAX_TOKENS, evaluate
from parp_fairseq.evaluation.score import (
    EditCounts,
    Score,
    Utterance,
    edit_counts,
    render_scores,
    write_transcripts,
)

__all__ = [
    "MAX_TOKENS",
    "EditCounts",
    "Score",
    "Utterance",
    "edit_counts",
    "evaluate",
    "render_scores",
    "write_transcripts",
]
