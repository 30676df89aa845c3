"""What ends a training is one line, also where a worker that fairseq spawned met it."""

import errno
import multiprocessing
import os
import subprocess
import sys

import pytest
import torch.multiprocessing
from failing_worker import fail

from parp_fairseq.errors import UserError
from parp_fairseq.tasks.launch import alone_in, one_line


@pytest.mark.parametrize(
    ("of_program", "line"),
    [
        (False, "rows.tsv row 3: gone"),
        (True, "the training cannot begin: ZeroDivisionError: a fault of the program "),
    ],
)
def test_an_error_of_a_worker(tmp_path, of_program, line):
    with pytest.raises(UserError) as ended, one_line(tmp_path):
        torch.multiprocessing.spawn(fail, args=(of_program,), nprocs=1)
    assert str(ended.value).startswith(line)


@pytest.mark.parametrize(
    ("last", "way"), [(True, "resume from its last checkpoint"), (False, "begin it again")]
)
def test_ctrl_c(tmp_path, capsys, last, way):
    if last:
        (tmp_path / "checkpoint_last.pt").touch()
    with pytest.raises(SystemExit) as ended, one_line(tmp_path):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip() == f"stopped; rerun the same command to {way}"


def test_a_full_disk_and_a_locale_are_one_line_and_a_bug_is_raised(tmp_path):
    with pytest.raises(UserError, match="free some space"), one_line(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "log"))
    with pytest.raises(UserError, match=r"'é.wav' .* ascii; .* PYTHONUTF8=1"), one_line(tmp_path):
        "é.wav".encode("ascii")
    # What fairseq's own loop meets is no matter of settings.
    loop = compile(
        "def train():\n  raise OSError('other')\ntrain()", "fairseq_cli/train.py", "exec"
    )
    with pytest.raises(OSError, match="other"), one_line(tmp_path):
        exec(loop, {})
    with pytest.raises(UserError, match="cannot begin: OSError: other "), one_line(tmp_path):
        raise OSError("other")


def test_a_reader_does_not_abort_the_program():
    """A thread in torch's code when Python leaves ends it with 134, whatever the code was."""
    script = """
import torch
from fairseq.data.iterators import BufferedIterator
from parp_fairseq.errors import UserError, reported
from parp_fairseq.fairseq_patches import one_run

class Batches:
    def __len__(self):
        return 10**6
    def __iter__(self):
        while True:
            yield torch.stack([torch.rand(50, 50) + n for n in range(200)])

with reported(), one_run():
    next(BufferedIterator(10**5, Batches()))
    raise UserError("in the first update")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == "parp: error: in the first update"


def test_an_exit_amid_a_write_stays_an_exit(tmp_path):
    """A scheduler's handler leaves while torch.save writes, whose own error then hides that."""
    with pytest.raises(SystemExit) as ended, one_line(tmp_path):
        try:
            raise SystemExit(144)
        except SystemExit:
            try:
                raise RuntimeError("unexpected pos 64")
            except RuntimeError as error:
                raise UserError("checkpoint.pt cannot be written") from error
    assert ended.value.code == 144


def _try(folder, answer):
    try:
        with alone_in(folder):
            answer.put("free")
    except UserError as error:
        answer.put(str(error))


def another_process(folder):
    context = multiprocessing.get_context("forkserver")
    answer = context.SimpleQueue()
    process = context.Process(target=_try, args=(folder, answer))
    process.start()
    process.join()
    return answer.get()


def test_a_folder_is_locked_by_the_training_and_not_by_its_children(tmp_path):
    read, write = os.pipe()
    with alone_in(tmp_path):
        # As a worker that loads data, which may outlive a training that is killed.
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        assert "another training is using" in another_process(tmp_path)
    try:
        assert another_process(tmp_path) == "free"
    finally:
        os.close(write)
        os.waitpid(child, 0)
