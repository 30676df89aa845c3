import pytest

from hydra_plugins.parp_searchpath import refused


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "Could not override 'task.prune.sparsty'.\nTo append to your config use "
            "+task.prune.sparsty=0.5\nKey 'sparsty' is not in struct",
            "task.prune.sparsty: no such option; ",
        ),
        (
            "Error merging override optimization.max_update=abc\nValue 'abc' could not be "
            "converted to Integer\n    full_key: optimization.max_update",
            "optimization.max_update=abc: Value 'abc' could not be converted to Integer",
        ),
        ("mismatched input '<EOF>' expecting ID\nSee …", "mismatched input '<EOF>' expecting ID"),
        (
            "In 'hydra/launcher/parp_slurm': Could not load 'hydra/launcher/submitit_slurm'",
            "hydra/launcher: submitit is missing; in the clone of parp-fairseq: "
            "pip install '.[slurm]'",
        ),
        ("", "ValueError"),
    ],
)
def test_refused(message, told):
    assert refused(ValueError(message)).startswith(told)
