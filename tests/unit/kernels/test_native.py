"""Building, loading and choosing: which code runs, and what is said where none can."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from parp_fairseq.kernels import bits, build, native

CODE = """
import torch
from parp_fairseq.kernels import bits, native
a = torch.arange(256, dtype=torch.uint8)
print(native.level(), bits.count_both(a, a.flip(0)), bits.count_both(a, a))
"""


def program(code=CODE, folder=None, **variables):
    """Run Python code in a process of its own, from a folder where the package may lie."""
    environment = {**os.environ, **variables}
    environment.pop("PARP_KERNELS", None)
    environment.update(variables)
    if folder:
        environment["PYTHONPATH"] = str(folder)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder
    )


@pytest.fixture
def package(tmp_path):
    """A copy of what the kernels need of the package, without a library."""
    to = tmp_path / "parp_fairseq"
    (to / "kernels").parent.mkdir()
    for name in ("__init__.py", "_version.py"):
        shutil.copy(build.HERE.parent / name, to / name)
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(build.HERE, to / "kernels", ignore=ignore)
    return tmp_path


def test_a_level_can_be_forced(monkeypatch):
    for name in ["reference", *native.available()]:
        monkeypatch.setenv("PARP_KERNELS", name)
        assert native.level() == name


def test_an_unknown_level_ends_in_one_line(package):
    code = "from parp_fairseq.errors import reported\nwith reported():" + CODE.replace(
        "\n", "\n    "
    )
    shutil.copy(build.HERE.parent / "errors.py", package / "parp_fairseq")
    run = program(code, folder=package, PARP_KERNELS="avx1024")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("parp: error: PARP_KERNELS is 'avx1024'; use reference, portable")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("asked", ["", "reference"])
def test_without_a_library_results_are_the_same_and_one_line_says_so_unless_asked_for(
    package, asked
):
    run = program(folder=package, PARP_KERNELS=asked)
    assert run.stdout.split() == ["reference", "0", "1024"], run.stderr
    assert run.stderr.count("\n") == (0 if asked else 1)
    if not asked:
        assert "are not built" in run.stderr and "install a C++ compiler" in run.stderr


def test_nothing_is_said_where_all_tensors_are_on_a_gpu(package):
    code = """
import torch
from parp_fairseq.kernels import cut, native
native.is_remote = lambda tensor: True
print(cut.cut([torch.ones(4)], [cut.Bound(0, 0)]).kept)
"""
    run = program(code, folder=package)
    assert (run.stdout, run.stderr) == ("[4]\n", "")


def test_a_library_of_other_sources_is_not_used(package):
    shutil.copy(native.BINARY, package / "parp_fairseq" / "kernels")
    assert program(folder=package).stdout.split()[0] == native.available()[-1]
    with (package / "parp_fairseq/kernels/csrc/bits.cpp").open("a") as source:
        source.write("// changed\n")
    run = program(folder=package)
    assert run.stdout.split()[0] == "reference" and "other sources" in run.stderr


def test_building_without_a_compiler_says_what_to_install(package):
    code = "from parp_fairseq.kernels import build; build.main()"
    run = program(code, folder=package, PATH=str(package))
    assert run.returncode == 2 and "install g++" in run.stderr and run.stderr.count("\n") == 1
    assert not list(package.rglob("*.so"))


def test_a_compiler_that_lacks_a_level_builds_the_others(package):
    old = package / "old-compiler"
    old.write_text(
        '#!/bin/sh\ncase "$*" in *avx512*) echo "error: unknown -mavx512f" >&2; exit 1;; esac\n'
        'exec c++ "$@"\n'
    )
    old.chmod(0o755)
    code = "from parp_fairseq.kernels import build; print(*build.build())"
    run = program(code, folder=package, CXX=str(old))
    assert run.stdout.split() == [name for name in build.LEVELS if name != "avx512"], run.stderr
    assert program(folder=package).stdout.split()[0] == native.available()[:2][-1]


def test_no_inline_function_is_shared_by_levels():
    """The linker would keep one copy for all, perhaps one that this processor cannot run."""
    if not shutil.which("nm"):
        pytest.skip("needs nm")
    command = ["nm", "-C", str(native.BINARY)]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert any("scan_portable" in name for name in names)
    weak = [name for name in names if name[17:18] in "VWu"]
    assert weak == []


def test_threads_of_any_number_agree(monkeypatch):
    a = torch.randint(0, 256, (1_000_003,), dtype=torch.uint8)
    expected = bits.count_both_reference(a, a)
    for count in (1, 2, 3, 64):
        monkeypatch.setattr(native, "threads", lambda count=count: count)
        assert bits.count_both(a, a) == expected


def test_a_forked_child_does_not_hang():
    """OpenMP's threads are not there after a fork, and waiting for them would never end."""
    code = """
import os, torch
from parp_fairseq.kernels import bits
torch.set_num_threads(2)
a = torch.full((1_000_000,), 255, dtype=torch.uint8)
torch.randn(2000, 2000) @ torch.randn(2000, 2000)
assert bits.count_both(a, a) == 8_000_000
child = os.fork()
if not child:
    os._exit(0 if bits.count_both(a, a) == 8_000_000 else 1)
print(os.waitpid(child, 0)[1])
"""
    run = program(code)
    assert run.stdout.split() == ["0"], run.stderr
