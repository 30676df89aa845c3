"""The embedded default: synthetic speech, and runs on it."""
