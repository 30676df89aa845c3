"""Scoring fine-tuned models: transcripts by greedy CTC decoding, and their error rates."""

from parp_fairseq.evaluation.decode import evaluate, evaluate_all
from parp_fairseq.evaluation.score import Score, bootstrap_interval, edit_counts

__all__ = ["Score", "bootstrap_interval", "edit_counts", "evaluate", "evaluate_all"]
