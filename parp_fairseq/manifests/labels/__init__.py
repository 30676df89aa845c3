"""What a model writes: letters or phones, and their dictionaries."""
