"""Manifests: from corpora to what fairseq reads, and the check that they are sound."""

from __future__ import annotations

from parp_fairseq.manifests.check.findings import check_folder
from parp_fairseq.manifests.check.split import CheckedManifest, check_manifest
from parp_fairseq.manifests.corpora.corpus import Corpus, build_corpus
from parp_fairseq.manifests.corpora.joint import build_joint
from parp_fairseq.manifests.corpora.librilight import build_librilight
from parp_fairseq.manifests.corpora.librispeech import build_librispeech
from parp_fairseq.manifests.corpora.own_table import build_table
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary

__all__ = [
    "BuildSummary",
    "CheckedManifest",
    "Corpus",
    "SplitSummary",
    "build_corpus",
    "build_joint",
    "build_librilight",
    "build_librispeech",
    "build_table",
    "check_folder",
    "check_manifest",
]
