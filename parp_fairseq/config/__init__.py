"""The yaml files that ship, and what reads them."""
