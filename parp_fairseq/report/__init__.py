"""The report engine: rows of results to tables, figures, statistics and verdicts."""
