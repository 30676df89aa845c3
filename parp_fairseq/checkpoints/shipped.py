"""The pre-trained model that ships with this package."""

from pathlib import Path

TINY_MODEL = Path(__file__).with_name("tiny.pt")
"""A wav2vec 2.0 of this project's own, small enough to ship (`demo/README.md` tells how)."""
