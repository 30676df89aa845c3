"""Bad arguments: the one error, and checks that several functions share. Loads no torch."""

GRANULARITIES = ("global", "tensor")
SHAPES = ("linear", "cubic")


class PruningError(ValueError):
    """A bad argument.

    Its message begins with the argument's name; programs put their own option's name there
    (`parp_fairseq.errors.options_named`).

    Attributes:
        argument: the name, empty where no single argument is at fault.
        problem: what is wrong with it and what to do.
    """

    def __init__(self, problem: str, argument: str = "") -> None:
        """Tell `problem`, of `argument` where there is one."""
        super().__init__(f"{argument} {problem}" if argument else problem)
        self.argument = argument
        self.problem = problem


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
