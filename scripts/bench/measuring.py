"""What all benches share: options, ways run in turn, whole processes, memory, the machine."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PARP = Path(sys.executable).with_name("parp")


def parser(doc: str, rounds: int, quick: str) -> argparse.ArgumentParser:
    """A parser with the options that every bench has; `doc` is the bench's docstring."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    made.add_argument("--quick", action="store_true", help=f"try the script: {quick}")
    return made


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long `work` takes by a clock."""
    start = clock()
    work()
    return clock() - start


def in_turn(ways: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each way returns in each round; all take turns, so that other work meets all alike."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


@dataclass(frozen=True)
class Process:
    """What a process that ended well used and said."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    errors: str


def run(command: Sequence[str | Path]) -> Process:
    """Run a command to its end; exit with what it said where it fails."""
    with tempfile.TemporaryFile() as stream:
        start = time.perf_counter()
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=stream)
        _, status, used = os.wait4(process.pid, 0)
        taken = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stream.seek(0)
        errors = stream.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{errors[-2000:]}")
    return Process(taken, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss, errors)


def in_own_process(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a process of its own: a child's peak memory starts from its parent's."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def times(values: Sequence[float], digits: int = 2) -> list[str]:
    """Cells: median, least and greatest."""
    return [f"{of(values):.{digits}f}" for of in (statistics.median, min, max)]


def peak_extra_bytes(work: Callable[[], object]) -> int:
    """By how much this process's memory grows at most while `work` runs (Linux only)."""

    def kilobytes(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1])

    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return 1024 * max(0, kilobytes("VmHWM") - before)


def machine() -> str:
    """Processor, cores, threads, versions and load, in a line."""
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(": ")[1] for line in lines if "model name" in line), name)
    parts = [f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"]
    parts.append(f"Python {platform.python_version()}, torch {torch.__version__}")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return f"{'; '.join(parts)}; load {os.getloadavg()[0]:.1f} at the end"
