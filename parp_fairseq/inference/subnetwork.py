"""A subnetwork in any format, opened in plain torch.

A sparse file and a folder of `transformers` hold all that is needed. So does a checkpoint with a
dictionary of this package's; another one's dictionary may need fairseq to be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from parp_fairseq.checkpoints.dictionary import Symbols
from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.formats import named_checkpoint
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import nn

    from parp_fairseq.inference.network import Wav2Vec2Ctc

DENSE, SPARSE, AUTO = "dense", "sparse", "auto"
ENGINES = (AUTO, DENSE, SPARSE)
"""auto: layers sparse enough to win clearly run sparse, without a measurement; dense: none; sparse:
those that a measurement of about a second finds faster."""

CLEAR = 0.75
"""Sparsity from which layers win clearly (twice as fast at 70% with AVX2 or AVX-512, three times at
80%: `docs/engine.md`)."""


@dataclass(frozen=True)
class Subnetwork:
    """A fine-tuned CTC model, dense or sparse, ready to transcribe."""

    model: Wav2Vec2Ctc = field(repr=False)  # its network, in evaluation mode
    symbols: Symbols = field(repr=False)  # of the rows of its head
    normalize: bool  # whether a waveform is brought to mean 0 and variance 1, as fairseq does it
    # The text file that names the symbols, where the model does not hold them.
    dictionary: Path | None = None


def open_subnetwork(path: PathLike, sparsity: float | None = None) -> Subnetwork:
    """Read a fine-tuned CTC model in any format, pruned to `sparsity` as `open_finetuned` does.

    UserError where it cannot be read, is pre-trained only, has weights that are no numbers, lacks
    its dictionary, or is a network that `inference.network` has no counterpart of.
    """
    source = open_finetuned(named_checkpoint(path), sparsity=sparsity)

    from parp_fairseq.inference.network import Wav2Vec2Ctc

    model = Wav2Vec2Ctc.from_finetuned(source.settings()["model"], source.weights, source.path)
    symbols = Symbols.of_dictionary(source.symbols, source.joining)
    normalize = bool(source.info.normalize)
    return Subnetwork(model, symbols, normalize, source.dictionary_path)


def run_sparse(model: nn.Module, engine: str, precision: str | None = None) -> int:
    """Replace layers of `model`, in place, by those that leave zeros out; return how many groups.

    `engine` is one of ENGINES; `precision` None, or "exact" or "bf16" for what is not sparse too.
    """
    if engine == DENSE:
        return 0
    from parp_fairseq.engine import accelerate
    from parp_fairseq.kernels import native

    # What is clear with vectors is not without: there it is measured too.
    vectors = native.level() in ("avx2", "avx512")
    clear = CLEAR if engine == AUTO and precision is None and vectors else None
    return accelerate(model, clear=clear, precision=precision).replaced
