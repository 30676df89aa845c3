"""Masks: where they come from, their files, and how they compare."""
