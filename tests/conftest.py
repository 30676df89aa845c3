"""Real speech, real manifests and a way to run `parp`, for all tests."""

import signal
import sys

import pytest

from parp_fairseq.cli import main
from parp_fairseq.demo.speech import synthesise_corpus
from parp_fairseq.manifests.corpora.librilight import build_librilight

# A shell's background job ignores Ctrl-C, and so would every program that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

PARTS = {"1h/0/clean": 24, "1h/0/other": 8, "dev-other": 8, "test-clean": 8}


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """A Libri-light tree of 48 spoken sentences (about 2.5 minutes)."""
    out = tmp_path_factory.mktemp("speech") / "corpus"
    synthesise_corpus(out, seed=1, utterances=PARTS, per_speaker=4)
    return out


@pytest.fixture(scope="session")
def data(speech, tmp_path_factory):
    """Its manifests, with letters."""
    out = tmp_path_factory.mktemp("data")
    build_librilight(speech / "librispeech_finetuning", speech / "LibriSpeech", out, sets=["10min"])
    return out / "10min"


@pytest.fixture
def parp(monkeypatch, capsys):
    """Run `parp` in this process; return its exit code, what it printed, and its errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["parp", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return stop.value.code or 0, printed.out, printed.err

    return run
