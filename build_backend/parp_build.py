"""Setuptools' build backend, with an editable install that leaves real folders in site-packages.

fairseq looks for `common.user_dir=parp_fairseq` as a folder beside its own package, and Hydra
finds plugins by listing the folders of `hydra_plugins`; neither asks Python's import system,
which is all that setuptools' own editable installs serve. So the editable wheel holds small
stand-in packages in the places where those two look, and each stand-in runs the clone's files.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from string import Template

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parents[1]

# fairseq imports every file that it lists in these folders of a user dir.
LISTED = ("tasks", "models")

STAND_IN = Template('''\
"""Stands in for $folder (editable install)."""

import importlib.util as _util
import os as _os

_folder = $folder
$check
_here = _os.path.dirname(__file__)
__spec__ = _util.spec_from_file_location(
    __name__,
    _os.path.join(_folder, "__init__.py"),
    submodule_search_locations=[$search],
)
__file__ = __spec__.origin
__path__ = __spec__.submodule_search_locations
__loader__ = __spec__.loader
__cached__ = __spec__.cached
if _os.path.isfile(__file__):
    exec(__loader__.get_code(__name__), globals())
''')

CHECK = """\
if not _os.path.isdir(_folder):
    raise ImportError(
        "parp-fairseq was installed in editable mode from a folder that is gone: "
        + _folder
        + "; install it again from where it is now (scripts/setup.sh)"
    )
"""

IMPORT_ALL = Template('''\
"""Imports every module of $folder (editable install)."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules([$folder]):
    if not _module.name.startswith("_"):
        importlib.import_module(__package__ + "." + _module.name)
''')


def stand_ins(root: Path) -> dict[str, str]:
    """The files of an editable wheel, by path in site-packages, for the clone at `root`."""
    package = root / "parp_fairseq"
    plugin = root / "hydra_plugins" / "parp_searchpath"

    def stand_in(folder: Path, search: str, check: str) -> str:
        return STAND_IN.substitute(folder=repr(str(folder)), search=search, check=check)

    files = {
        # The stand-in's own folder comes first, so that the two below it are found in it.
        "parp_fairseq/__init__.py": stand_in(package, "_here, _folder", CHECK),
        "hydra_plugins/parp_searchpath/__init__.py": stand_in(plugin, "_folder", CHECK),
    }
    for name in LISTED:
        # Also where the clone lacks the folder: it may come later, with a pull.
        folder = package / name
        files[f"parp_fairseq/{name}/__init__.py"] = stand_in(folder, "_folder, _here", "")
        files[f"parp_fairseq/{name}/editable_install.py"] = IMPORT_ALL.substitute(
            folder=repr(str(folder))
        )
    return files


def record_line(path: str, data: bytes) -> str:
    """One line of a wheel's RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


def rewrite(wheel: Path, extra: dict[str, str]) -> None:
    """Replace all of `wheel` but its metadata by the files `extra` (path → text)."""
    with zipfile.ZipFile(wheel) as archive:
        files = {
            name: archive.read(name)
            for name in archive.namelist()
            if ".dist-info/" in name and not name.endswith("/RECORD")
        }
        record = next(name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
    files.update({path: text.encode() for path, text in extra.items()})
    lines = [record_line(path, data) for path, data in files.items()] + [f"{record},,\n"]
    files[record] = "".join(lines).encode()

    beside = wheel.with_suffix(".part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    os.replace(beside, wheel)


def build_wheel(
    wheel_directory: str,
    config_settings: dict | None = None,
    metadata_directory: str | None = None,
) -> str:
    """PEP 517: write the wheel into `wheel_directory` and return its file name."""
    # Setuptools packs whatever an earlier build left there, files since renamed included.
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str,
    config_settings: dict | None = None,
    metadata_directory: str | None = None,
) -> str:
    """PEP 660: write a wheel of stand-ins into `wheel_directory` and return its file name."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    rewrite(Path(wheel_directory) / name, stand_ins(ROOT))
    return name
