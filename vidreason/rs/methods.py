"""Named ways to train: settings of `RSConfig` and `DataArguments` under one name.

plain trains on labels alone, reasoning_supervision is the paper's method, and evidence_supervision is ours. `method:
NAME` in a recipe sets them, and what the recipe says itself wins; `--method NAME` on the command line wins over the
recipe, and other flags win over it.
"""

from __future__ import annotations

from typing import Any

from ..training import recipes

_NO_VIEWS = {"evidence_swap": 0.0, "evidence_blank": 0.0, "evidence_drop": 0.0, "evidence_zoom": 0.0}

METHODS: dict[str, dict[str, Any]] = {
    "plain": {"spatial_weight": 0.0, "temporal_weight": 0.0, **_NO_VIEWS},
    # "Reasoning Supervision for Vision Transformers in Human Activity Recognition", section 2.3. The paper states
    # neither its weights nor its layer.
    "reasoning_supervision": {
        "spatial_weight": 1.0,
        "temporal_weight": 0.1,
        "supervised_layers": "-1",
        "temperature": 1.0,
        **_NO_VIEWS,
    },
    # ours: every spatial layer aligned, and evidence views. Fixed on worlds of other seeds than any result is of.
    "evidence_supervision": {
        "spatial_weight": 1.0,
        "temporal_weight": 0.1,
        "supervised_layers": "all",
        "temperature": 1.0,
        **_NO_VIEWS,
        "evidence_swap": 0.5,
        "evidence_zoom": 0.5,
    },
}


def method_settings(name: str | None) -> dict[str, Any]:
    """The settings of a method; none for None.

    Raises:
        ConfigError: There is no such method.
    """
    return recipes.method_settings(name, METHODS)
