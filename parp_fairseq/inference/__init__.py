"""Running a fine-tuned model in plain torch: its network, and what is transcribed with it."""
