"""The paper's results from one plan: fine-tunings, scores, tables, figures, RESULTS.md."""
