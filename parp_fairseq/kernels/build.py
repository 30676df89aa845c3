"""Compile the kernels into one shared library: `python -m parp_fairseq.kernels.build`.

Runs before the package is installed (setup.py executes this file), so it imports nothing of it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "csrc"
NAME = "libparp_kernels.so"

COMMON = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti")
AVX2 = ("-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mpopcnt", "-mlzcnt", "-DPARP_AVX2")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-DPARP_AVX512")
# Level → flags, slowest first.
LEVELS: dict[str, tuple[str, ...]] = {"portable": ()}
if platform.machine().lower() in ("x86_64", "amd64"):
    LEVELS.update(avx2=AVX2, avx512=AVX2 + AVX512)


class BuildError(Exception):
    """There is no compiler, or it refused the sources; the message says which."""


def compiler() -> list[str] | None:
    """The command of a C++ compiler ($CXX, or what PATH has); None where there is none."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    for command in [wanted] if wanted else [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(command[0]):
            return command
    return None


def sources_digest(folder: Path = SOURCES) -> str:
    """A digest of all sources in `folder`, which the library carries."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".h", ".cpp"):
            data = path.read_bytes()
            digest.update(b"%s %d\n" % (path.relative_to(folder).as_posix().encode(), len(data)))
            digest.update(data)
    return digest.hexdigest()[:16]


def build(out: Path = HERE / NAME, flags: Sequence[str] = ()) -> list[str]:
    """Compile the library.

    Files in `csrc/` are compiled once for each level, those in `csrc/runtime/` once. A level whose
    flags the compiler does not know is left out.

    Args:
        out: the file to write; it is written under another name and then renamed, so that a process
            that has loaded the old one keeps it.
        flags: further flags for compiler and linker, such as -fsanitize=address.

    Returns:
        The levels that the library has.

    Raises:
        BuildError: no compiler, or it fails.
    """
    command = compiler()
    if command is None:
        raise BuildError("no C++ compiler was found")
    kernels, runtime = sorted(SOURCES.glob("*.cpp")), sorted((SOURCES / "runtime").glob("*.cpp"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:

        def compiled(source: Path, level: str, more: Sequence[str]) -> Path:
            made = Path(folder) / f"{source.stem}.{level}.o"
            run(*command, *COMMON, *more, *flags, "-c", str(source), "-o", str(made))
            return made

        jobs = {
            level: [
                pool.submit(compiled, source, level, (*more, f"-DPARP_LEVEL={level}"))
                for source in kernels
            ]
            for level, more in LEVELS.items()
        }
        objects: list[Path] = []
        levels: list[str] = []
        for level, waiting in jobs.items():
            try:
                objects += [job.result() for job in waiting]
            except BuildError:
                if level == "portable":
                    raise
                continue
            levels.append(level)
        about = (f'-DPARP_BUILT="{" ".join(levels)}"', f'-DPARP_SOURCES="{sources_digest()}"')
        objects += [compiled(source, "runtime", about) for source in runtime]
        partial = out.with_name(f".{out.name}.{os.getpid()}.part")
        try:
            run(*command, "-shared", "-pthread", *flags, *map(str, objects), "-o", str(partial))
            os.replace(partial, out)
        finally:
            partial.unlink(missing_ok=True)
    return levels


def run(*command: str) -> None:
    """Run a compiler; BuildError with the first error that it reports."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise BuildError(f"{command[0]}: {first}")


def main() -> None:
    """Build in place and say what was built."""
    try:
        levels = build()
    except BuildError as error:
        line = f"parp: error: kernels not built: {error}; install g++ or clang++, or set CXX"
        print(line, file=sys.stderr)
        sys.exit(2)
    print(f"{HERE / NAME}: {', '.join(levels)}")


if __name__ == "__main__":
    main()
