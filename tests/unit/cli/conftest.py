"""`parp` run in this process."""

from __future__ import annotations

import sys

import pytest

from parp_fairseq import cli


@pytest.fixture
def parp(monkeypatch, capsys):
    """Run `parp`; return its exit code, what it printed, and its errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["parp", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return stop.value.code, printed.out, printed.err

    return run
