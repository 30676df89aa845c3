"""Iterative magnitude pruning (IMP): rounds of fairseq fine-tunings, each pruning a little more."""
