"""Arguments that make no sense, told in the words of this package's own functions."""


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
