"""What a worker of `test_launch.py` runs: apart, since each imports this file, and not fairseq."""

from parp_fairseq.errors import UserError, reported


def fail(rank: int, kind: str) -> None:
    """End as `kind` says: with a UserError raised or reported, or a fault."""
    if kind == "raised":
        raise UserError("rows.tsv row 3: gone")
    if kind == "reported":
        with reported():
            raise UserError("reported already")
    raise ZeroDivisionError("a fault of the program")
