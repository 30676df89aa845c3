"""What came out of runs: a table, figures and a page, from the files that training wrote."""

from __future__ import annotations

from parp_fairseq.analysis.report import Report, make_report

__all__ = ["Report", "make_report"]
