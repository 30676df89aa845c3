"""Running what was pruned: which layers are faster sparse, and their forward."""
