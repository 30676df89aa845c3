"""Grids of fine-tunings: one yaml, the command line of each run, and its scores in one table."""
