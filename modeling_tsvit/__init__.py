"""TSViT for `transformers`: configuration, models and video processor, in files that a Hub repository can hold.

Importing this package makes the Auto classes know TSViT, so that saved folders load without `trust_remote_code`.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    AutoModelForVideoClassification,
    AutoVideoProcessor,
)

from .action_segmentation_tsvit import TSViTForActionSegmentation
from .configuration_tsvit import TSViTConfig
from .modeling_tsvit import TSViTForVideoClassification, TSViTModel, TSViTPreTrainedModel
from .video_processing_tsvit import TSViTVideoProcessor

AutoConfig.register("tsvit", TSViTConfig, exist_ok=True)
AutoModel.register(TSViTConfig, TSViTModel, exist_ok=True)
AutoModelForVideoClassification.register(TSViTConfig, TSViTForVideoClassification, exist_ok=True)
AutoModelForTokenClassification.register(TSViTConfig, TSViTForActionSegmentation, exist_ok=True)
AutoVideoProcessor.register(TSViTConfig, TSViTVideoProcessor, exist_ok=True)

__all__ = [
    "TSViTConfig",
    "TSViTForActionSegmentation",
    "TSViTForVideoClassification",
    "TSViTModel",
    "TSViTPreTrainedModel",
    "TSViTVideoProcessor",
]
