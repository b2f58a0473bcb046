"""The report of a run, from its trials alone. It works in the middle of a run; importing it loads no torch, no pandas."""

from expand.report.candidates import Candidate, RunFacts, candidates, front
from expand.report.comparison import Comparison, compare
from expand.report.comparison_tables import print_comparison
from expand.report.files import write_page, write_report
from expand.report.planned import compare_plan, print_planned
from expand.report.tables import ledger_markdown, print_front, print_ledger

__all__ = [
    "Candidate",
    "Comparison",
    "RunFacts",
    "candidates",
    "compare",
    "compare_plan",
    "front",
    "ledger_markdown",
    "print_comparison",
    "print_front",
    "print_ledger",
    "print_planned",
    "write_page",
    "write_report",
]
