"""Another library for these tests, where one is named: the one built with sanitizers."""

from __future__ import annotations

import os
from pathlib import Path

from parp_fairseq.kernels import native

if "KERNELS_UNDER_TEST" in os.environ:
    native.BINARY = Path(os.environ["KERNELS_UNDER_TEST"])
    native._library.cache_clear()
