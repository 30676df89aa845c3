"""The embedded default: synthetic speech and a tiny pre-trained model."""

from pathlib import Path

TINY_MODEL = Path(__file__).parent / "tiny.pt"
"""A wav2vec 2.0 of this project's own, small enough to ship (`README.md` beside it)."""
