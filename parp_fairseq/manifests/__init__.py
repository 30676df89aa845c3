"""Manifests: from corpora to what fairseq reads, and the check that they are sound."""
