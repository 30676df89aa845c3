"""Manifests: from corpora to what fairseq reads, and the check that they are sound."""

from __future__ import annotations

from parp_fairseq.manifests.check import CheckedManifest, check_manifest
from parp_fairseq.manifests.librilight import build_librilight
from parp_fairseq.manifests.librispeech import build_librispeech
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary

__all__ = [
    "BuildSummary",
    "CheckedManifest",
    "SplitSummary",
    "build_librilight",
    "build_librispeech",
    "check_manifest",
]
