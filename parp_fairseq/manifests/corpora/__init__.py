"""Corpora into manifests: a module a corpus, and what they share."""
