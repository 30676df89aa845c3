"""What ends a training is one line, also where a worker that fairseq spawned met it."""

import errno
import multiprocessing
import os

import pytest
import torch.multiprocessing
from failing_worker import fail

from parp_fairseq.errors import UserError
from parp_fairseq.tasks.launch import alone_in, one_line


@pytest.mark.parametrize("of_program", [False, True])
def test_an_error_of_a_worker(tmp_path, of_program):
    expected = torch.multiprocessing.ProcessRaisedException if of_program else UserError
    with pytest.raises(expected) as ended, one_line(tmp_path):
        torch.multiprocessing.spawn(fail, args=(of_program,), nprocs=1)
    if not of_program:
        assert str(ended.value) == "rows.tsv row 3: gone"


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
    with pytest.raises(OSError, match="other"), one_line(tmp_path):
        raise OSError("other")


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
