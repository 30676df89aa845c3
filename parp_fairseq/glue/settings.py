"""How GLUE is fine-tuned: the settings that all runs of a folder share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parp_fairseq.errors import UserError

PRECISIONS = ("fp32", "bf16")
"""fp32, or PyTorch's automatic mixed precision with bfloat16."""


@dataclass(frozen=True)
class Settings:
    """A fine-tuning's settings; the defaults are BERT-Ticket's, which the paper's 4.5 follows.

    Attributes:
        learning_rate: of AdamW at its peak; it falls linearly to 0 at the last update.
        batch: examples in an update.
        max_length: tokens, above which an example is cut.
        epochs: passes over the training examples.
        warmup: share of the updates over which the learning rate climbs, in [0, 1).
        weight_decay: of AdamW; biases and norms have none.
        limit_train: train on so many examples, the same for all seeds; None: on all.
        micro_batch: examples in a forward pass. An update's examples are sorted by length and
            parted, so that little is padded; its gradient is the same within rounding.
        precision: of the passes through the model, one of `PRECISIONS`. Weights, their gradients
            and AdamW are in fp32 either way.
    """

    learning_rate: float = 2e-5
    batch: int = 32
    max_length: int = 128
    epochs: int = 3
    warmup: float = 0.0
    weight_decay: float = 0.0
    limit_train: int | None = None
    micro_batch: int = 8
    precision: str = "fp32"

    def check(self) -> None:
        """Raise UserError where a value is out of its range (as the command's option)."""
        for name in ("batch", "max_length", "epochs", "micro_batch", "limit_train"):
            value = getattr(self, name)
            least = 8 if name == "max_length" else 1
            if value is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} is {value}; give {least} or more")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UserError(f"--learning-rate is {self.learning_rate:g}; give more than 0")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UserError(f"--weight-decay is {self.weight_decay:g}; give 0 or more")
        if not 0 <= self.warmup < 1:
            raise UserError(f"--warmup is {self.warmup:g}; it is a share of the updates, below 1")
        if self.batch % self.micro_batch and self.batch > self.micro_batch:
            raise UserError(
                f"--batch {self.batch} is no multiple of --micro-batch {self.micro_batch}; "
                f"give --micro-batch {math.gcd(self.batch, self.micro_batch)}"
            )
        if self.precision not in PRECISIONS:
            raise UserError(f"--precision is {self.precision!r}; use {' or '.join(PRECISIONS)}")

    @property
    def passes(self) -> int:
        """Forward passes in an update."""
        return max(1, self.batch // self.micro_batch)

    def updates(self, examples: int) -> int:
        """Updates in all epochs over so many examples."""
        return self.epochs * math.ceil(examples / self.batch)
