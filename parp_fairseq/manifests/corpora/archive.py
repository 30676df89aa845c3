"""Unpacking an archive that came from elsewhere, without leaving the folder it goes into."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from parp_fairseq.errors import UserError


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive (plain, gz, bz2 or xz) into `folder`, which must exist.

    Files and folders only, with none of the owners, modes and times that the archive asks for:
    tarfile's own filters let links pass, and links led outside of them before Python 3.11.13.
    Raises UserError naming the member for one that points outside `folder`, a link or a device,
    and for an archive that is damaged; `folder` then holds what came before.
    """
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                _unpack_member(tar, member, archive, folder)
            # The checksum stands behind the last member, where tarfile does not look.
            while tar.fileobj.read(1 << 20):
                pass
    except FileNotFoundError as error:
        raise UserError(f"{archive}: no such archive") from error
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive} is no sound tar archive; get it again") from error
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{archive} cannot be unpacked into {folder}: {reason}") from error


def _unpack_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path, folder: Path
) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise UserError(f"{archive}: its member {member.name!r} points outside; do not trust it")
    if member.isdir():
        (folder / name).mkdir(parents=True, exist_ok=True)
        return
    if not member.isreg():
        kind = "a link" if member.issym() or member.islnk() else "neither file nor folder"
        raise UserError(f"{archive}: its member {member.name!r} is {kind}; do not trust it")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    # Regular, so extractfile gives a stream; no link was ever made that writing could follow.
    with tar.extractfile(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
