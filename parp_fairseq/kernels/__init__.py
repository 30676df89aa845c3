"""Native kernels, each beside its reference in torch (docs/kernels.md)."""
