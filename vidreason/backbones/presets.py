"""Named configurations of new models, for `model_type`. Their names say the family and the size."""

from __future__ import annotations

from typing import Any

_SMALL = {
    "image_size": 64,
    "num_frames": 8,
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "initializer_range": 0.1,
}
"""Frames of 64 pixels, as in recipes/demo_rs.yaml: 8 frames, a 4x4 grid."""

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # 4.3M parameters, as the paper states of its ViViT; it states no more of it
    "vivit_compact": (
        "vivit",
        {
            "num_frames": 16,
            "hidden_size": 224,
            "num_hidden_layers": 6,
            "num_attention_heads": 7,
            "intermediate_size": 896,
            "initializer_range": 0.05,
        },
    ),
    "timesformer_small": ("timesformer", _SMALL),
    "vivit_small": ("vivit", _SMALL),
    "videomae_small": ("videomae", _SMALL),
    "vjepa2_small": (
        "vjepa2",
        {
            "crop_size": 64,
            "frames_per_clip": 8,
            "hidden_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "mlp_ratio": 2.0,
            "num_pooler_layers": 1,
            "pred_hidden_size": 24,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
            "initializer_range": 0.1,
        },
    ),
}
"""Name -> (model type, fields of its configuration). Fields of `model_config` win over those of a preset."""
