"""Manifests: from corpora to what fairseq reads, and the check that they are sound."""

from __future__ import annotations

from parp_fairseq.manifests.check import CheckedManifest, check_manifest
from parp_fairseq.manifests.joint import build_joint
from parp_fairseq.manifests.librilight import build_librilight
from parp_fairseq.manifests.librispeech import build_librispeech
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary
from parp_fairseq.manifests.table import build_table
from parp_fairseq.manifests.verify import check_folder

__all__ = [
    "BuildSummary",
    "CheckedManifest",
    "SplitSummary",
    "build_joint",
    "build_librilight",
    "build_librispeech",
    "build_table",
    "check_folder",
    "check_manifest",
]
