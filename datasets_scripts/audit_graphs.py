"""How good scene graphs are: a table of them against another one, such as parsed graphs against annotated ones.

    python datasets_scripts/audit_graphs.py --graphs data/graphs_parsed --reference data/graphs --out outputs/audit
    python datasets_scripts/audit_graphs.py --graphs data/graphs_a --reference data/graphs_b --match id \
        --out outputs/audit

Writes audit.json, audit.csv, graphs.csv, audit.md and pictures of the graphs with the most differences.
"""

from __future__ import annotations

import sys

from vidreason.audit.graphs_report import GraphAuditSettings, audit_graphs
from vidreason.audit.report import MARKDOWN_FILE
from vidreason.command_line import run_command


def audit(settings: GraphAuditSettings) -> None:
    """Audit, and print the report and where it is.

    Raises:
        VidreasonError: The tables are not usable, or have nothing in common.
    """
    written = audit_graphs(settings)
    print((written[0].parent / MARKDOWN_FILE).read_text(encoding="utf-8"))
    print("\n".join(map(str, written)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(audit, GraphAuditSettings)


if __name__ == "__main__":
    sys.exit(main())
