import os
import subprocess
import sys

import pytest
from small_corpora import write_lines, write_split

SCRIPT = """
import locale, sys
from fairseq import tasks
from omegaconf import OmegaConf
data, how = sys.argv[1:]
assert "UTF" not in locale.getpreferredencoding(False)
if how == "user dir":
    import parp_fairseq
    settings = {"_name": "audio_finetuning", "data": data, "labels": "phn", "normalize": False}
    root = OmegaConf.create({"task": settings, "common": {"tpu": False, "seed": 1}})
    task = tasks.setup_task(root.task)
else:
    from types import SimpleNamespace as Some
    from fairseq.data import Dictionary
    from parp_fairseq.evaluation.fairseq_model import build_task
    dictionary = Dictionary.load(data + "/dict.phn.txt")
    model = Some(labels="phn", info=Some(normalize=0), state={}, dictionary=dictionary)
    task = build_task(model, data)
task.load_dataset("train")
print(task.dataset("train")[0]["label"].tolist(), flush=True)
"""


@pytest.mark.legacy
@pytest.mark.parametrize("how", ["user dir", "eval"])
def test_labels_are_utf8_whatever_the_locale(tmp_path, how):
    write_split(tmp_path, "train", ["ש é 日"])
    write_lines(tmp_path / "dict.phn.txt", ["日 3", "ש 2", "é 1"])
    # The C locale, without what Python makes of it.
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), how],
        env={**os.environ, **ascii_only},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[5, 6, 4]", done.stderr[-2000:]
