"""The report engine: what runs left, as tables, figures, statistics and verdicts."""

from __future__ import annotations

from parp_fairseq.report.report import Report, make_report

__all__ = ["Report", "make_report"]
