"""Audio files: what their headers say, and conversion to what fairseq reads."""
