"""What parp-fairseq is made of and what it needs."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "parp_fairseq"

# By its path: what imports the package needs torch, which is not there yet.
_spec = importlib.util.spec_from_file_location("kernels_build", PACKAGE / "kernels" / "build.py")
kernels = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kernels)


def version() -> str:
    """The version string, read from the package without importing it."""
    text = (PACKAGE / "_version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.M).group(1)


def long_description() -> str:
    """The README, or nothing where a bare copy of the sources lacks it."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


def data_files() -> list[str]:
    """Every file of the package that is not Python: yaml, the tiny model, sources of kernels."""
    return sorted(
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and path.suffix not in {".py", ".pyc", ".pyo", ".so", ".part"}
        and not any(part.startswith(".") for part in path.relative_to(PACKAGE).parts)
    )


class BuildWithKernels(build_py):
    """Compiles the kernels too: into the wheel; for an editable install, next to their sources."""

    def run(self) -> None:
        """Build; without a compiler, build no kernels; the program says so when it runs."""
        if not self.editable_mode:
            # What an earlier build left there would be packed too, files since renamed included.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        target = PACKAGE if self.editable_mode else Path(self.build_lib) / PACKAGE.name
        out = target / "kernels" / kernels.NAME
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            kernels.build(out)
        except kernels.BuildError as error:
            out.unlink(missing_ok=True)
            print(f"warning: without native kernels: {error}", file=sys.stderr)


class WheelOfThisPlatform(bdist_wheel):
    """Any Python 3 (the library is plain C to it), but this machine's system and processor."""

    def get_tag(self) -> tuple[str, str, str]:
        """The wheel's tag; that of a pure one where no library can be built."""
        if kernels.compiler() is None:
            return super().get_tag()
        pure, self.root_is_pure = self.root_is_pure, False
        try:
            return "py3", "none", super().get_tag()[2]
        finally:
            self.root_is_pure = pure


OLD = 'python_version < "3.11"'
NEW = 'python_version >= "3.11"'

EXTRAS = {
    "hf": ["transformers", "accelerate"],
    # examples/glue
    "glue": ["transformers", "accelerate", "scikit-learn"],
    "phones": ["phonemizer>=3.4"],
    "audio": ["soxr"],
    # Beam search with a language model.
    "lm": ["flashlight-text==0.0.7", "kenlm==0.3.0"],
    "onnx": ["onnx", "onnxruntime"],
    # The engine's convolutions, norms and attention; int8 needs nncf too.
    "openvino": [f"openvino; {NEW}"],
    "int8": [f"openvino; {NEW}", f"nncf; {NEW}"],
    "report": ["matplotlib"],
    # The launcher for Hydra 1.3, which comes with the newer fairseq.
    "slurm": [f"hydra-submitit-launcher; {NEW}"],
    "workflow": [f"snakemake>=9,<10; {NEW}"],
    "tensorboard": ["tensorboard"],
    # The API reference (scripts/docs.sh).
    "docs": ["mkdocs", "mkdocstrings-python"],
    "dev": [
        "hypothesis",
        "import-linter",
        "jiwer",
        "mypy",
        "pytest",
        "pytest-timeout",
        "pytest-xdist",
        "ruff",
    ],
}

setup(
    name="parp-fairseq",
    version=version(),
    description="PARP (Prune, Adjust and Re-Prune) for self-supervised speech models in fairseq",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.9",
    packages=[
        *find_packages(include=["parp_fairseq", "parp_fairseq.*"]),
        # hydra_plugins is a namespace shared with other distributions: it has no __init__.py.
        "hydra_plugins.parp_searchpath",
    ],
    package_data={"parp_fairseq": data_files()},
    zip_safe=False,
    cmdclass={"build_py": BuildWithKernels, "bdist_wheel": WheelOfThisPlatform},
    entry_points={"console_scripts": ["parp = parp_fairseq.cli:main"]},
    install_requires=[
        f"fairseq-fixed==0.12.3.1; {NEW}",
        # fairseq-fixed imports it as soon as fairseq is imported.
        f"scikit-learn; {NEW}",
        # add_safe_globals, with which checkpoints load as data, came with 2.4.
        f"torch>=2.4; {NEW}",
        f"numpy; {NEW}",
        f"fairseq==0.12.2; {OLD}",
        f"torch>=2.4,<2.6; {OLD}",
        f"numpy<1.24; {OLD}",
        "editdistance",
        "espeakng-loader",
        "packaging",
        "rapidfuzz",
        "safetensors",
        "scipy",
        "soundfile",
        "tensorboardX",
        "tqdm",
        # With choices as Literal.
        "typer>=0.19",
    ],
    extras_require={
        **EXTRAS,
        # Whatever a user of the commands may need; not what developing needs.
        "all": sorted(
            {need for name in EXTRAS if name not in ("dev", "docs") for need in EXTRAS[name]}
        ),
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
