"""Native kernels, each next to its definition in torch (docs/kernels.md)."""
