"""How parp_fairseq/checkpoints/tiny.pt was made: no part of what is installed."""
