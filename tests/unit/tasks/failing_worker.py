"""What a worker of `test_launch.py` runs: apart, since each imports this file, and not fairseq."""

from parp_fairseq.errors import UserError


def fail(rank: int, of_program: bool) -> None:
    """End with a UserError, or a fault of the program."""
    if of_program:
        raise ZeroDivisionError("a fault of the program")
    raise UserError("rows.tsv row 3: gone")
