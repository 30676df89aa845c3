"""Arguments that several functions take, checked without loading torch."""

from parp_fairseq.pruning.errors import PruningError

GRANULARITIES = ("global", "tensor")
SHAPES = ("linear", "cubic")


def check_sparsity(sparsity: float, argument: str = "sparsity") -> None:
    """Raise PruningError unless `sparsity` lies in [0, 1]; `argument` is what it is called."""
    if not 0.0 <= sparsity <= 1.0:
        problem = f"is {sparsity}; it is a fraction between 0 and 1 (90% is 0.9)"
        raise PruningError(problem, argument)


def check_seed(seed: int) -> None:
    """Raise PruningError unless torch's generators take `seed`."""
    if not -(2**63) <= seed < 2**64:
        raise PruningError(f"is {seed}; give one from -2^63 to 2^64 - 1, such as 1", "seed")


def check_granularity(granularity: str) -> None:
    """Raise PruningError unless `granularity` is one of GRANULARITIES."""
    if granularity not in GRANULARITIES:
        raise PruningError(f"is {granularity!r}; use {' or '.join(GRANULARITIES)}", "granularity")


def check_shape(shape: str) -> None:
    """Raise PruningError unless `shape`, of a schedule, is one of SHAPES."""
    if shape not in SHAPES:
        raise PruningError(f"is {shape!r}; use {' or '.join(SHAPES)}", "schedule")
