"""Users' files: the one atomic write, the one lock, the one rule on what may be replaced."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union
from unicodedata import normalize

from parp_fairseq.errors import UserError

PathLike = Union[str, "os.PathLike[str]"]

LOCK_FILE = ".lock"
PARTIAL = ".partial-"
"""The names of `staged`'s folders begin with it; one that is left over was of a killed program."""


@dataclass(frozen=True)
class Kind:
    """A kind of file that this program writes."""

    name: str  # what to call it, with its article: "a mask file"
    # Whether an existing file is of this kind; it may raise OSError or ValueError, which means no.
    is_one: Callable[[Path], bool]

    def matches(self, path: Path) -> bool:
        """Whether the file `path` is of this kind, or empty."""
        try:
            return path.stat().st_size == 0 or bool(self.is_one(path))
        except (OSError, ValueError):
            return False


def begins_with(*starts: bytes) -> Callable[[Path], bool]:
    """Return a test for `Kind`: the file begins with one of these bytes."""

    def is_one(path: Path) -> bool:
        with path.open("rb") as handle:
            return handle.read(max(map(len, starts))).startswith(starts)

    return is_one


PNG = Kind("a PNG picture", begins_with(b"\x89PNG"))


def check_output(
    path: PathLike,
    kind: Kind,
    *,
    inputs: Iterable[PathLike] = (),
    force: bool = False,
    option: str = "--out",
) -> Path:
    """Check, before any work, that a file may be written to `path`; return it as a Path.

    Only a file of the same `kind` is ever replaced, with `force`, and none of the `inputs`.
    UserError, naming the `option` that gave the path, where it is a folder, an input, exists
    (without `force`) or is of another kind, or its folder cannot be made or written to.
    """
    path = Path(path)
    check_not_input(path, inputs, option)
    output = f"{option} {path}"
    if path.is_dir():
        raise UserError(f"{output} is a folder; give the name of {kind.name} to write")
    if path.exists() or path.is_symlink():
        if not path.is_file() or not kind.matches(path):
            raise UserError(f"{output} already exists and is not {kind.name}; choose another path")
        if not force:
            raise UserError(f"{output} already exists; choose another path or use --force")
    for folder in path.absolute().parents:
        if folder.exists():
            if not folder.is_dir():
                raise UserError(f"{output}: {folder} is a file, not a folder")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise UserError(f"{output} cannot be written: no permission to write to {folder}")
            break
    return path


def check_not_input(path: PathLike, inputs: Iterable[PathLike], option: str = "--out") -> None:
    """Raise UserError where `path` is one of `inputs`, under whatever name."""
    for given in inputs:
        if os.path.realpath(path) == os.path.realpath(given) or _same(path, given):
            raise UserError(f"{option} {path} is also an input; choose another path")


def _same(a: PathLike, b: PathLike) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """A file to write next to `path`, which replaces it when all is written.

    Folders that are missing are made. When the block raises, `path` is as it was and nothing is
    left behind. Raises UserError: it cannot be written (rights, a full disk).
    """
    path = Path(path)
    made = first_missing(path.parent)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        remove_empty(path.parent, made)
        raise


@contextlib.contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Turn an OSError in the block into a UserError that says why `path` was not written."""
    try:
        yield
    except OSError as error:
        raise UserError(cannot_write(path, error)) from error


def cannot_write(path: PathLike, error: BaseException) -> str:
    """Say why `path` could not be written and what to do about it."""
    code = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or "it could not be finished"
    if code in (errno.ENOSPC, errno.EDQUOT):
        todo = "free some space there"
    elif code in (errno.EACCES, errno.EPERM, errno.EROFS):
        todo = "check its permissions or choose another path"
    else:
        todo = "choose another path"
    return f"{path} cannot be written ({reason}); {todo}"


def write_bytes(path: PathLike, data: bytes) -> None:
    """Write a whole file atomically. Raises what `replacing` raises."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_lines(path: PathLike, lines: Iterable[str]) -> None:
    """Write UTF-8 lines with LF ends atomically. Raises what `replacing` raises."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(f"{line}\n" for line in lines)


def write_json(path: PathLike, content: Any) -> None:
    """Write JSON atomically; what JSON does not know is written as its string."""
    write_lines(path, [json.dumps(content, indent=1, default=str)])


@contextlib.contextmanager
def locked(
    folder: PathLike, who: str, patience: float = 0.0, *, inherited: bool = True
) -> Iterator[int]:
    """Hold the lock of a folder, which is made if need be; yield its file descriptor.

    The last process that holds it releases it when it ends, however it ends; a child that inherits
    the descriptor holds it too where it is `inherited`. UserError where another process (`who`,
    such as "another demo") holds it for `patience` seconds, or the folder cannot be written.
    """
    folder = Path(folder)
    lock = fcntl.flock if inherited else fcntl.lockf
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise UserError(
                        f"{folder}: {who} is using this folder; wait for it, or choose another"
                    ) from error
                time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def staged(out: PathLike) -> Iterator[Path]:
    """A folder to write into; its content moves to `out` when the block ends well.

    Files of the same name in `out` are replaced, others stay. When the block raises, `out` is as it
    was before; of the folders made for it those go that nobody else has used since. Raises
    UserError: `out` cannot be written.
    """
    out = Path(out)
    made = first_missing(out)
    stage: Path | None = None
    try:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            # Inside out, so that the files need only be renamed.
            stage = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=out))
        yield stage
        with writing(out):
            _move(stage, out)
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        remove_empty(out, made)


def sha256(path: PathLike) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def other_form(path: PathLike) -> str | None:
    """`path` as its file system spells it, where names may be in another Unicode form.

    A name that was typed is NFC, of an old Mac it is NFD, and most file systems take them for two.
    None where there is no such file, or names of both forms are there.
    """
    path = os.fspath(path)
    if os.path.exists(path) or path.isascii():
        return path if os.path.exists(path) else None
    found = ""
    for part in Path(path).parts:
        place = os.path.join(found, part)
        if not os.path.exists(place):
            changed = os.stat(found or ".").st_mtime_ns if os.path.isdir(found or ".") else 0
            names = _names(found or ".", changed).get(normalize("NFC", part), [])
            if len(names) != 1:
                return None
            place = os.path.join(found, names[0])
        found = place
    return found


@functools.lru_cache(maxsize=64)
def _names(folder: str, changed: int) -> dict[str, list[str]]:
    """The names in a folder, which `changed` then, by their NFC; empty where it is none."""
    names: dict[str, list[str]] = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        names.setdefault(normalize("NFC", name), []).append(name)
    return names


def first_missing(folder: PathLike) -> Path | None:
    """The topmost folder that making `folder` would make; None where it exists."""
    missing = None
    for place in (Path(folder), *Path(folder).parents):
        if place.exists():
            break
        missing = place
    return missing


def remove_empty(folder: PathLike, upto: Path | None) -> None:
    """Remove `folder` and the folders above it up to `upto`, as far as they are empty."""
    if upto is None:
        return
    for place in (Path(folder), *Path(folder).parents):
        try:
            place.rmdir()
        except OSError:
            return
        if place == upto:
            return


def _move(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move(entry, place)
        else:
            os.replace(entry, place)
