"""What ends a training, told in one line, also where a worker that fairseq spawned met it."""

import errno
import os

import pytest
import torch.multiprocessing
from failing_worker import fail

from parp_fairseq.errors import UserError
from parp_fairseq.tasks.launch import _alone, _one_line


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("raised", UserError),
        ("reported", SystemExit),
        ("fault", torch.multiprocessing.ProcessRaisedException),
    ],
)
def test_workers(tmp_path, kind, expected):
    with pytest.raises(expected) as ended, _one_line(tmp_path):
        torch.multiprocessing.spawn(fail, args=(kind,), nprocs=1)
    if kind == "raised":
        assert str(ended.value) == "rows.tsv row 3: gone"
    if kind == "reported":
        assert ended.value.code == 2


@pytest.mark.parametrize("last", [True, False])
def test_ctrl_c(tmp_path, capsys, last):
    if last:
        (tmp_path / "checkpoint_last.pt").touch()
    with pytest.raises(SystemExit) as ended, _one_line(tmp_path):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    way = "goes on from its last checkpoint" if last else "begins it again"
    assert capsys.readouterr().err.strip() == f"stopped; the same command {way}"


def test_a_full_disk(tmp_path):
    with pytest.raises(UserError, match="make room"), _one_line(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "log"))


def test_a_fault_of_the_program_stays_one(tmp_path):
    with pytest.raises(OSError, match="other"), _one_line(tmp_path):
        raise OSError("other")


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    read, write = os.pipe()
    ready, child_ready = os.pipe()
    with _alone(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.write(child_ready, b"x")
            os.read(read, 1)
            os._exit(0)
        os.read(ready, 1)
        with pytest.raises(UserError, match="another training is at work"), _alone(tmp_path):
            pass
    try:
        with _alone(tmp_path):
            pass
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_an_exit_amid_a_write_stays_an_exit(tmp_path):
    """A scheduler's handler leaves while torch.save writes, whose own error then hides that."""
    with pytest.raises(SystemExit) as ended, _one_line(tmp_path):
        try:
            raise SystemExit(144)
        except SystemExit:
            try:
                raise RuntimeError("unexpected pos 64")
            except RuntimeError as error:
                raise UserError("checkpoint.pt cannot be written") from error
    assert ended.value.code == 144
