"""How good guidance is: a table against boxes that are known to be right, against another table, or to be looked at.

    python datasets_scripts/audit_guidance.py --guidance data/guidance --truth data/world/truth --manifest data/world \
        --out outputs/audit
    python datasets_scripts/audit_guidance.py --guidance data/guidance --boxes boxes.json --manifest data/manifest \
        --out outputs/audit
    python datasets_scripts/audit_guidance.py --guidance data/guidance_a --compare data/guidance_b --out outputs/audit
    python datasets_scripts/audit_guidance.py --guidance data/guidance --manifest data/manifest --out outputs/audit

Writes audit.json, audit.csv, audit.md, contact_sheet.png and audit.html. The last one judges nothing: its contact
sheet and page show the table's own frames.
"""

from __future__ import annotations

import sys

from vidreason.audit.audit_folder import AuditSettings, audit_folder
from vidreason.command_line import run_command


def audit(settings: AuditSettings) -> None:
    """Audit, and print the report and where it is.

    Raises:
        VidreasonError: the tables, the boxes or the manifest are not usable.
    """
    written = audit_folder(settings)
    print((written[0].parent / "audit.md").read_text(encoding="utf-8"))
    print("\n".join(map(str, written)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(audit, AuditSettings)


if __name__ == "__main__":
    sys.exit(main())
