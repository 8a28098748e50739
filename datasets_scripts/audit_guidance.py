"""How good guidance is: a table against boxes that are known to be right, or against another table.

    python datasets_scripts/audit_guidance.py --guidance data/guidance --truth data/world/truth --manifest data/world \
        --out outputs/audit
    python datasets_scripts/audit_guidance.py --guidance data/guidance --boxes boxes.json --manifest data/manifest \
        --out outputs/audit
    python datasets_scripts/audit_guidance.py --guidance data/guidance_a --compare data/guidance_b --out outputs/audit

Writes audit.json, audit.csv, audit.md, contact_sheet.png and audit.html.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidreason.audit.audit_folder import AuditSettings, audit_folder
from vidreason.command_line import run_command
from vidreason.guidance import DEFAULT_TOLERANCE_S


@dataclass
class AuditArguments:
    """Which table, what it is judged by, and where the report goes."""

    guidance: str = field(metadata={"help": "Folder of the guidance table."})
    out: str = field(metadata={"help": "Folder of the report."})
    truth: str | None = field(
        default=None, metadata={"help": "Folder of ground truth with the boxes of relevant objects."}
    )
    boxes: str | None = field(
        default=None, metadata={"help": "JSON file of boxes by frame index; needs --manifest for the frames' times."}
    )
    compare: str | None = field(default=None, metadata={"help": "Folder of another guidance table to compare with."})
    manifest: str | None = field(
        default=None, metadata={"help": "Folder of the manifest: classes, and the pixels of the pictures."}
    )
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not where it says."})
    splits: list[str] = field(default_factory=list, metadata={"help": "Splits of the table; all by default."})
    tolerance_s: float = field(
        default=DEFAULT_TOLERANCE_S, metadata={"help": "How far a row may lie from the frame it speaks for."}
    )
    resamples: int = field(default=1000, metadata={"help": "Bootstrap resamples of whole videos."})
    seed: int = field(default=0, metadata={"help": "Of the bootstrap and of the random examples."})
    frames_per_group: int = field(
        default=24, metadata={"help": "Frames of each group (worst, best, random, without guidance) on the page."}
    )
    sheet_frames: int = field(default=4, metadata={"help": "Frames of each group on the contact sheet."})


def audit(args: AuditArguments) -> None:
    """Audit, and print the report and where it is.

    Raises:
        VidreasonError: the tables, the boxes or the manifest are not usable.
    """
    written = audit_folder(AuditSettings(**vars(args)))
    print((written[0].parent / "audit.md").read_text(encoding="utf-8"))
    print("\n".join(map(str, written)))


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(audit, AuditArguments)


if __name__ == "__main__":
    sys.exit(main())
