"""Programs that ours starts, their progress, and iterative pruning as a series of them."""
