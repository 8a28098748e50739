"""Named ways to train a Video-LLM: settings of `VideoQAConfig` under one name.

`method: video_qa` in a recipe names this system, as `task: video_qa` does, and what the recipe says itself wins.
"""

from __future__ import annotations

from typing import Any

TASK = "video_qa"
"""Name of the task, which a recipe may give in place of a method."""

METHODS: dict[str, dict[str, Any]] = {
    # STEP, section 3.2: answers and rationales weigh the same
    TASK: {"rationale_weight": 1.0},
    # what is trained on the same questions without their rationales, to compare with
    "video_qa_answers": {"rationale_weight": 0.0},
}
