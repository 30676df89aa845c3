"""The one table of pruning methods (paper, sections 2.3, 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from parp_fairseq.pruning.arguments import PruningError

MAGNITUDE, RANDOM, RANDOM_INIT = "magnitude", "random", "random_init"
INITIAL_MASKS = (MAGNITUDE, RANDOM, RANDOM_INIT)
"""Initial masks that have a name: magnitudes of the weights that training starts from, entries
drawn at random, magnitudes of the same network with random weights."""

FINETUNED, FILE = "finetuned", "file"
"""Initial masks that `mask` names: magnitudes of a fine-tuned model, a mask file."""


@dataclass(frozen=True)
class Method:
    """How a method prunes."""

    name: str  # in options
    title: str  # in tables
    # Its initial mask, one of `INITIAL_MASKS`, `FINETUNED` or `FILE`; None: it never prunes.
    initial: str | None
    # Further initial masks that the option `initial` may name; with `any_file` it may be a mask
    # file too.
    others: tuple[str, ...] = ()
    any_file: bool = False  # see `others`
    static: bool = False  # what is pruned is set back to zero after every update
    ramps: bool = False  # the sparsity rises over the updates
    schedule: str = "linear"  # how it rises by default, "linear" or "cubic"
    below: float = 0.0  # how far below the target it begins by default
    # How many it takes, with the one that its mask comes from; None: it depends.
    fine_tunings: int | None = 1
    levels: bool = False  # it trains further sparsities, the option `sparsities`

    @property
    def mask_kind(self) -> str | None:
        """What the option `mask` must name, in words; None where it is not supported."""
        return {FINETUNED: "a fine-tuned checkpoint", FILE: "a mask file"}.get(self.initial or "")

    def check(self, initial: str | None, mask: str | None) -> None:
        """Raise PruningError where the options `initial` and `mask` do not go with the method."""
        if self.mask_kind and not mask:
            raise PruningError(f"is missing: method {self.name} needs {self.mask_kind}", "mask")
        if mask and not self.mask_kind:
            takers = [name for name, method in METHODS.items() if method.mask_kind]
            raise PruningError(
                f"is for method {' or '.join(takers)}, not {self.name}; for an initial mask that "
                "may change, use initial",
                "mask",
            )
        if initial is None:
            return
        if self.initial not in INITIAL_MASKS:
            raise PruningError(f"is not supported by method {self.name}", "initial")
        known = (self.initial, *self.others)
        if initial not in known and (initial in INITIAL_MASKS or not self.any_file):
            raise PruningError(
                f"is {initial!r}; method {self.name} takes {' or '.join(known)}", "initial"
            )


_DRAWN = (RANDOM, RANDOM_INIT)
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("dense", "dense", None),
        Method("rp", "RP", RANDOM, others=(RANDOM_INIT,), static=True),
        Method("mpi", "MPI", MAGNITUDE, static=True),
        # Fine-tune densely, then the pre-trained model again under the mask of the result.
        Method("omp", "OMP", FINETUNED, static=True, fine_tunings=2),
        Method("mask", "given mask", FILE, static=True, fine_tunings=None),
        # Zhu and Gupta, 2017.
        Method(
            *("gmp", "GMP", MAGNITUDE, _DRAWN),
            any_file=True,
            static=True,
            ramps=True,
            schedule="cubic",
            below=1.0,
        ),
        Method("parp", "PARP", MAGNITUDE, _DRAWN, any_file=True),
        Method("parp_p", "PARP-P", MAGNITUDE, _DRAWN, any_file=True, ramps=True, below=0.4),
        # GMP to the lowest of several sparsities, then each update trains one of them.
        Method("nested", "nested", MAGNITUDE, static=True, ramps=True, below=0.4, levels=True),
    )
}
"""By name, in the order of tables."""


def method_named(name: str, others: Sequence[str] = ()) -> Method:
    """Return a method; `others` are names that the caller takes as well, for the error.

    Raises PruningError: there is none of that name.
    """
    if name not in METHODS:
        names = (*METHODS, *others)
        close = get_close_matches(str(name), names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise PruningError(f"is {name!r}; {hint}use one of {', '.join(names)}", "method")
    return METHODS[name]
