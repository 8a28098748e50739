"""Tiny models of every family, and what transformers' own eager attention says of them."""

from contextlib import contextmanager
from importlib import import_module

import torch
from transformers import AutoConfig, AutoModelForVideoClassification, PreTrainedModel

FRAMES, SIDE, LAYERS, LABELS = 6, 32, 2, 3
GRID = (4, 4)

_SHARED = {"hidden_size": 48, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "initializer_range": 0.3}
_SQUARE = {**_SHARED, "image_size": SIDE, "num_frames": FRAMES, "intermediate_size": 64}
FAMILIES = {
    "timesformer": ("timesformer", {**_SQUARE, "patch_size": 8}),
    "timesformer_joint": ("timesformer", {**_SQUARE, "patch_size": 8, "attention_type": "joint_space_time"}),
    "vivit": ("vivit", {**_SQUARE, "tubelet_size": [2, 8, 8]}),
    "videomae": ("videomae", {**_SQUARE, "patch_size": 8}),
    "vjepa2": (
        "vjepa2",
        {
            **_SHARED,
            "crop_size": SIDE,
            "patch_size": 8,
            "frames_per_clip": FRAMES,
            "num_pooler_layers": 1,
            "pred_hidden_size": 24,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
        },
    ),
}
NUM_LAYERS = dict.fromkeys(FAMILIES, LAYERS) | {"vjepa2": LAYERS + 2}
ON_SDPA = ("vivit", "videomae", "vjepa2")
DROPOUT = {
    "timesformer": {"hidden_dropout_prob": 0.2},
    "timesformer_joint": {"hidden_dropout_prob": 0.2},
    "vivit": {"hidden_dropout_prob": 0.2},
    "videomae": {"hidden_dropout_prob": 0.2},
    "vjepa2": {"drop_path_rate": 0.2},
}


def make_plain(family: str, seed: int = 0, attention: str | None = None, **changes) -> PreTrainedModel:
    """A plain model of a family; the same weights for the same seed, biases and positions not zero."""
    model_type, fields = FAMILIES[family]
    config = AutoConfig.for_model(model_type, num_labels=LABELS, **{**fields, **changes})
    torch.manual_seed(seed)
    settings = {} if attention is None else {"attn_implementation": attention}
    model = AutoModelForVideoClassification.from_config(config, dtype=torch.float32, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model.eval()


def make_clips(batch_size: int = 2, num_frames: int = FRAMES, seed: int = 1) -> torch.Tensor:
    """(batch, frames, 3, 32, 32)."""
    return torch.randn(batch_size, num_frames, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def inputs_of(model: PreTrainedModel, clips: torch.Tensor) -> dict[str, torch.Tensor]:
    return {("pixel_values_videos" if model.config.model_type == "vjepa2" else "pixel_values"): clips}


@contextmanager
def eager_maps(model: PreTrainedModel, mean_query: bool):
    """Collects, in order of the layers, what transformers' own eager attention function gives for the supervised row.

    For a mean query the function is called once more with the mean of the queries that it was given.
    """
    module = import_module(f"transformers.models.{model.config.model_type}.modeling_{model.config.model_type}")
    original, rows = module.eager_attention_forward, []

    def watched(layer, query, key, value, *args, **kwargs):
        row_of = query.mean(dim=2, keepdim=True) if mean_query and query.shape[2] > 1 else query
        rows.append(original(layer, row_of, key, value, *args, **kwargs)[1].mean(dim=1)[:, 0])
        return original(layer, query, key, value, *args, **kwargs)

    module.eager_attention_forward = watched
    try:
        yield rows
    finally:
        module.eager_attention_forward = original


def expected_maps(family: str, clips: torch.Tensor, **changes) -> tuple[PreTrainedModel, torch.Tensor]:
    """An eager model, and (batch, layers, frames, tokens) from its own attention, with its graph."""
    model = make_plain(family, attention="eager", **changes)
    num_tokens = GRID[0] * GRID[1]
    if family.startswith("timesformer"):
        maps = [attention.mean(dim=1)[:, 0, 1:] for attention in model(clips, output_attentions=True).attentions]
        if family == "timesformer":  # (batch * frames, tokens)
            maps = [row.unflatten(0, (len(clips), -1)) for row in maps]
        else:  # (batch, tokens * frames)
            maps = [row.unflatten(1, (num_tokens, -1)).transpose(1, 2) for row in maps]
        return model, torch.stack(maps, dim=1)
    with eager_maps(model, mean_query=family != "vivit") as rows:
        model(**inputs_of(model, clips))
    prefix = 1 if family == "vivit" else 0
    maps = [row[:, prefix:].unflatten(1, (-1, num_tokens)).repeat_interleave(2, dim=1) for row in rows]
    return model, torch.stack(maps, dim=1)
