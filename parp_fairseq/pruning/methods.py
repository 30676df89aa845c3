"""The one table of pruning methods (paper, sections 2.3, 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from parp_fairseq.pruning.arguments import PruningError

MAGNITUDE, RANDOM, RANDOM_INIT = "magnitude", "random", "random_init"
INITIAL_MASKS = (MAGNITUDE, RANDOM, RANDOM_INIT)
"""First masks that have a name: magnitudes of the weights that training starts from, entries drawn
at random, magnitudes of the same network with random weights."""

FINETUNED, FILE = "finetuned", "file"
"""First masks that `mask` names: magnitudes of a fine-tuned model, a mask file."""


@dataclass(frozen=True)
class Method:
    """How a method prunes, and what it looks like in tables and figures.

    Attributes:
        name: in options.
        title: in tables.
        first: its first mask, one of `INITIAL_MASKS`, `FINETUNED` or `FILE`; None: it never prunes.
        others: further first masks that the option `initial` may name; with `any_file` it may be
            a mask file too.
        any_file: see `others`.
        static: what is pruned is set back to zero after every update.
        ramps: the sparsity rises over the updates.
        schedule: how it rises by default, "linear" or "cubic".
        fine_tunings: how many it takes, with the one that its mask comes from; None: it depends.
        about: a line about it.
        colour: in figures; Okabe and Ito's palette, told apart by any kind of colour vision.
        marker: in figures, so that they can be read in black and white.
    """

    name: str
    title: str
    first: str | None
    others: tuple[str, ...] = ()
    any_file: bool = False
    static: bool = False
    ramps: bool = False
    schedule: str = "linear"
    fine_tunings: int | None = 1
    about: str = ""
    colour: str = "#666666"
    marker: str = "*"

    @property
    def mask_kind(self) -> str | None:
        """What the option `mask` must name, in words; None where it has no meaning."""
        return {FINETUNED: "a fine-tuned checkpoint", FILE: "a mask file"}.get(self.first or "")

    def check(self, initial: str | None, mask: str | None) -> None:
        """Raise PruningError where the options `initial` and `mask` do not go with the method."""
        if self.mask_kind and not mask:
            raise PruningError(f"is missing: method {self.name} needs {self.mask_kind}", "mask")
        if mask and not self.mask_kind:
            takers = tuple(name for name, method in METHODS.items() if method.mask_kind)
            raise PruningError(
                f"goes with method {_or(takers)}, not {self.name}; for a first mask that may "
                "change, use initial",
                "mask",
            )
        if initial is None:
            return
        if self.first not in INITIAL_MASKS:
            raise PruningError(f"has no meaning for method {self.name}", "initial")
        known = (self.first, *self.others)
        if initial in INITIAL_MASKS and initial not in known:
            raise PruningError(f"is {initial}; method {self.name} takes {_or(known)}", "initial")
        if initial not in INITIAL_MASKS and not self.any_file:
            raise PruningError(f"is {initial!r}; method {self.name} takes {_or(known)}", "initial")


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "dense",
            "dense",
            None,
            about="ordinary fine-tuning, nothing pruned",
            colour="#000000",
            marker="D",
        ),
        Method(
            "rp",
            "RP",
            RANDOM,
            others=(RANDOM_INIT,),
            static=True,
            about="random pruning: a random mask, held during fine-tuning",
            colour="#D55E00",
            marker="v",
        ),
        Method(
            "mpi",
            "MPI",
            MAGNITUDE,
            static=True,
            about="the smallest weights of the pre-trained model pruned once, mask held",
            colour="#E69F00",
            marker="s",
        ),
        Method(
            "omp",
            "OMP",
            FINETUNED,
            static=True,
            fine_tunings=2,
            about="one-shot magnitude pruning: fine-tune densely, take the mask from the result, "
            "fine-tune the pre-trained model again with that mask held",
            colour="#CC79A7",
            marker="P",
        ),
        Method(
            "mask",
            "given mask",
            FILE,
            static=True,
            fine_tunings=None,
            about="a mask that was given, held",
            colour="#56B4E9",
            marker="X",
        ),
        Method(
            "gmp",
            "GMP",
            MAGNITUDE,
            others=(RANDOM, RANDOM_INIT),
            any_file=True,
            static=True,
            ramps=True,
            schedule="cubic",
            about="gradual magnitude pruning (Zhu and Gupta, 2017): the sparsity climbs to the "
            "target, and what is pruned stays zero",
            colour="#999999",
            marker="h",
        ),
        Method(
            "parp",
            "PARP",
            MAGNITUDE,
            others=(RANDOM, RANDOM_INIT),
            any_file=True,
            about="prune the pre-trained model by magnitude, fine-tune all weights, and prune "
            "again every few updates: pruned weights may come back",
            colour="#0072B2",
            marker="o",
        ),
        Method(
            "parp_p",
            "PARP-P",
            MAGNITUDE,
            others=(RANDOM, RANDOM_INIT),
            any_file=True,
            ramps=True,
            about="PARP that begins at a lower sparsity and climbs to the target",
            colour="#009E73",
            marker="^",
        ),
    )
}
"""By name, in the order of tables."""


def method_named(name: str, others: Sequence[str] = ()) -> Method:
    """Return a method; `others` are names that the caller takes beside, for the error.

    Raises:
        PruningError: there is none of that name.
    """
    if name not in METHODS:
        names = (*METHODS, *others)
        close = get_close_matches(str(name), names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise PruningError(f"is {name!r}; {hint}use one of {', '.join(names)}", "method")
    return METHODS[name]


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names)
