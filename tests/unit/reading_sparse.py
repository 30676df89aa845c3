"""`examples/read_sparse.py`, loaded from where it lies."""

from __future__ import annotations

import importlib.util
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "read_sparse.py"

_spec = importlib.util.spec_from_file_location("read_sparse_example", EXAMPLE)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
example_reader = _module.read_sparse
