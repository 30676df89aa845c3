"""Scoring fine-tuned models: transcripts by greedy CTC decoding, and their error rates."""

from __future__ import annotations

from parp_fairseq.evaluation.bootstrap import bootstrap_interval
from parp_fairseq.evaluation.decode import MAX_TOKENS, evaluate, evaluate_all
from parp_fairseq.evaluation.edits import EditCounts, edit_counts
from parp_fairseq.evaluation.score import ErrorRate, Score, Utterance
from parp_fairseq.evaluation.score_files import render_scores, write_transcripts

__all__ = [
    "MAX_TOKENS",
    "EditCounts",
    "ErrorRate",
    "Score",
    "Utterance",
    "bootstrap_interval",
    "edit_counts",
    "evaluate",
    "evaluate_all",
    "render_scores",
    "write_transcripts",
]
