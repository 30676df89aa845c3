"""Options that may be repeated or hold commas: both add up, the same in every command."""

import pytest

from parp_fairseq.cli.options import listed
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import decode
from parp_fairseq.manifests.corpora import librilight, librispeech

LIBRILIGHT = "manifest librilight --librilight a --librispeech b --out c"
LIBRISPEECH = "manifest librispeech --librispeech b --out c"
BUILD_LIBRILIGHT = librilight, "build_librilight", "sets"
BUILD_LIBRISPEECH = librispeech, "build_librispeech", "splits"


@pytest.mark.parametrize(
    ("command", "called", "expected"),
    [
        (f"{LIBRILIGHT} --set 1h, --set 10min,10h", BUILD_LIBRILIGHT, "1h 10min 10h"),
        (LIBRILIGHT, BUILD_LIBRILIGHT, "10min 1h 10h"),
        (
            f"{LIBRISPEECH} --split train=a+b,dev-other --split x",
            BUILD_LIBRISPEECH,
            "train=a+b dev-other x",
        ),
        ("eval c.pt --data d --split a,b --split c", (decode, "evaluate_all", "splits"), "a b c"),
    ],
)
def test_what_commands_pass_on(parp, monkeypatch, command, called, expected):
    passed, (module, function, option) = {}, called

    def stopped(*_, **options):
        passed.update(options)
        raise UserError("stopped here")

    monkeypatch.setattr(module, function, stopped)
    parp(*command.split())
    assert passed[option] == expected.split()


def test_empty_parts_are_passed_over():
    assert listed([" a, b ", "", ",c"]) == ["a", "b", "c"]
