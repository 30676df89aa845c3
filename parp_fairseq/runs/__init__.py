"""What a run leaves: its record, its log, and both read back."""
