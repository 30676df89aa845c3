"""Options that may be repeated or hold commas: both add up, the same in every command."""

import pytest

from parp_fairseq.cli.options import listed
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import decode
from parp_fairseq.manifests.corpora import librilight, librispeech


@pytest.mark.parametrize(
    ("command", "module", "function", "expected"),
    [
        (
            "manifest librilight --librilight a --librispeech b --out c --set 1h, --set 10min,10h",
            librilight,
            "build_librilight",
            {"sets": ["1h", "10min", "10h"]},
        ),
        (
            "manifest librilight --librilight a --librispeech b --out c",
            librilight,
            "build_librilight",
            {"sets": ["10min", "1h", "10h"]},
        ),
        (
            "manifest librispeech --librispeech b --out c --split train=a+b,dev-other --split x",
            librispeech,
            "build_librispeech",
            {"splits": ["train=a+b", "dev-other", "x"]},
        ),
        (
            "eval c.pt --data d --split a,b --split c",
            decode,
            "evaluate_all",
            {"splits": list("abc")},
        ),
    ],
)
def test_what_commands_pass_on(parp, monkeypatch, command, module, function, expected):
    passed = {}

    def stopped(*_, **options):
        passed.update(options)
        raise UserError("stopped here")

    monkeypatch.setattr(module, function, stopped)
    parp(*command.split())
    assert expected.items() <= passed.items()


def test_empty_parts_are_passed_over():
    assert listed([" a, b ", "", ",c"]) == ["a", "b", "c"]
