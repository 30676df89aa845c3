"""Bad arguments: the one error, and checks that several functions share. Loads no torch."""

GRANULARITIES = ("global", "tensor")
SHAPES = ("linear", "cubic")
UNITS = ("update", "epoch")


class PruningError(ValueError):
    """A bad argument.

    Its message begins with the argument's name; programs put their own option's name there
    (`parp_fairseq.errors.options_named`).

    Attributes:
        argument: the name, empty where no single argument is at fault.
        problem: what is wrong with it and what to do.
    """

    def __init__(self, problem: str, argument: str = "") -> None:
        """Say `problem`, of `argument` where there is one."""
        super().__init__(f"{argument} {problem}" if argument else problem)
        self.argument = argument
        self.problem = problem


def check_sparsity(sparsity: float, argument: str = "sparsity") -> None:
    """Raise PruningError unless a sparsity, or another share called `argument`, is in [0, 1]."""
    if not 0.0 <= sparsity <= 1.0:
        problem = f"is {sparsity}; it is a fraction between 0 and 1 (90% is 0.9)"
        raise PruningError(problem, argument)


def check_seed(seed: int) -> None:
    """Raise PruningError unless torch's generators take `seed`."""
    if not -(2**63) <= seed < 2**64:
        raise PruningError(f"is {seed}; give one from -2^63 to 2^64 - 1, such as 1", "seed")


def check_interval(interval: int, unit: str) -> None:
    """Raise PruningError unless `interval` is at least 1 and `unit` is one of UNITS."""
    if interval < 1:
        raise PruningError(f"must be at least 1 (got {interval})", "interval")
    check_choice(unit, UNITS, "interval_unit")


def check_choice(value: str, choices: tuple[str, ...], argument: str) -> None:
    """Raise PruningError unless `value` is one of `choices`."""
    if value not in choices:
        raise PruningError(f"is {value!r}; use {' or '.join(choices)}", argument)
