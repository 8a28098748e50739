"""Supervised views of the video models of `transformers`, so that any of them trains with reasoning supervision.

    model = AutoModelForVideoClassification.from_pretrained("facebook/timesformer-base-finetuned-k400")
    model = supervised_view(model, supervised_layers="all")

`docs/backbones.md` says what is supervised in each family and why, and how to register another one.
"""

from .a2o import A2OBackbone
from .backbone import Backbone, backbone_for, register_backbone, registered_model_types
from .probe import AttentionLayer
from .temporal_views import view_means
from .timesformer import TimesformerBackbone
from .tsvit import TSViTBackbone
from .videomae import VideoMAEBackbone
from .view import (
    SupervisedModel,
    SupervisedOutput,
    SupervisedOutputs,
    SupervisedView,
    plain_view,
    supervised_view,
)
from .vivit import VivitBackbone
from .vjepa2 import VJEPA2Backbone

_PLAIN = (TSViTBackbone(), TimesformerBackbone(), VideoMAEBackbone(), VivitBackbone(), VJEPA2Backbone())
for _backbone in (*_PLAIN, A2OBackbone()):
    register_backbone(_backbone)

__all__ = [
    "AttentionLayer",
    "Backbone",
    "SupervisedModel",
    "SupervisedOutput",
    "SupervisedOutputs",
    "SupervisedView",
    "backbone_for",
    "plain_view",
    "register_backbone",
    "registered_model_types",
    "supervised_view",
    "view_means",
]
