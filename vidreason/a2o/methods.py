"""Named ways to train with maps of objects: settings of `ObjectCentricConfig` under one name.

`method: object_centric` in a recipe names this system, and what the recipe says itself wins.
"""

from __future__ import annotations

from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    # A2O, section 3.3: every weight is trained, from those of pretraining
    "object_centric": {"freeze_classifier": False},
    # beyond the paper: what maps alone can tell a classifier that does not change
    "object_adapter": {"freeze_classifier": True},
}
