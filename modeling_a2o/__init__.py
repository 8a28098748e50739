"""A2O for `transformers`: configuration and model, in files that a Hub repository can hold.

Importing this package makes the Auto classes know A2O, so that saved folders load without `trust_remote_code`. One
whose classifier inside is TSViT wants `modeling_tsvit` imported too.
"""

from transformers import AutoConfig, AutoModelForVideoClassification

from .configuration_a2o import A2OConfig
from .modeling_a2o import A2OForVideoClassification, A2OPreTrainedModel

AutoConfig.register("a2o", A2OConfig, exist_ok=True)
AutoModelForVideoClassification.register(A2OConfig, A2OForVideoClassification, exist_ok=True)

__all__ = ["A2OConfig", "A2OForVideoClassification", "A2OPreTrainedModel"]
