"""What a model writes: letters, phones or pieces, and their dictionaries."""
