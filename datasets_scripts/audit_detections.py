"""How good detections are: a table against boxes that are known, or against another detector's table.

    python datasets_scripts/audit_detections.py --detections data/detections --truth data/world/truth \
        --manifest data/world --out outputs/audit
    python datasets_scripts/audit_detections.py --detections data/detections --boxes boxes.json --box_class person \
        --manifest data/manifest --out outputs/audit
    python datasets_scripts/audit_detections.py --detections data/detections_a --compare data/detections_b \
        --out outputs/audit

Writes audit.json, audit.csv, audit.md, contact_sheet.png and audit.html.
"""

from __future__ import annotations

import sys

from vidreason.audit.detections_report import DetectionAuditSettings, audit_detections
from vidreason.command_line import run_command


def audit(settings: DetectionAuditSettings) -> None:
    """Audit, and print the report and where it is.

    Raises:
        VidreasonError: The tables, the boxes or the manifest are not usable.
    """
    written = audit_detections(settings)
    print((written[0].parent / "audit.md").read_text(encoding="utf-8"))
    print("\n".join(map(str, written)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(audit, DetectionAuditSettings)


if __name__ == "__main__":
    sys.exit(main())
