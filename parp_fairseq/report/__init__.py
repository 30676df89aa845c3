"""The report engine: what runs left, as tables, figures, statistics and verdicts."""

from __future__ import annotations

from parp_fairseq.report.report import make_report

__all__ = ["make_report"]
