"""The model test suite of transformers itself, run on A2O: `make transformers-suite`.

Not part of `make test`: it needs the sources of the installed version of transformers, whose tests are not in its
wheel. By hand, with a source distribution or a clone of the same version:

    TRANSFORMERS_SOURCE=/path/of/transformers python -m pytest -o addopts= tests/modeling_a2o/transformers_suite_a2o.py

It runs around a V-JEPA 2 and around a TSViT.
"""

import inspect
import unittest

import torch
from fixtures.transformers_sources import add_tests_of_transformers
from transformers.models.auto import modeling_auto

import modeling_tsvit  # noqa: F401  makes TSViT a classifier that may be inside
from modeling_a2o import A2OConfig, A2OForVideoClassification

add_tests_of_transformers()

from tests_of_transformers.test_configuration_common import ConfigTester  # noqa: E402  the path is made above
from tests_of_transformers.test_modeling_common import ModelTesterMixin, floats_tensor, torch_device  # noqa: E402

# The suite makes labels by this table of names, which lists transformers' own models only.
modeling_auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES["a2o"] = "A2OForVideoClassification"

BATCH_SIZE, FRAMES, SIDE, CLASSES = 3, 4, 16, 2
VJEPA2 = {
    "model_type": "vjepa2",
    "crop_size": SIDE,
    "patch_size": 8,
    "frames_per_clip": FRAMES,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_pooler_layers": 1,
    "pred_hidden_size": 16,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
}
TSVIT = {
    "model_type": "tsvit",
    "image_size": SIDE,
    "grid_size": 2,
    "num_frames": FRAMES,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_spatial_layers": 1,
    "num_temporal_layers": 1,
}


class A2OModelTester:
    """Tiny configurations and inputs, as the suite asks for them."""

    batch_size, num_labels, is_training = BATCH_SIZE, 3, True

    def __init__(self, inside: dict):
        self.inside = inside

    def get_config(self) -> A2OConfig:
        """The configuration."""
        return A2OConfig(
            backbone_config=dict(self.inside),
            class_texts=["person", "ball"],
            adapter_depth=1,
            adapter_hidden_size=4,
            num_labels=self.num_labels,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[A2OConfig, dict[str, torch.Tensor]]:
        """The configuration, `pixel_values` and `object_maps`, five dimensions each."""
        pixel_values = floats_tensor([BATCH_SIZE, FRAMES, 3, SIDE, SIDE])
        maps = floats_tensor([BATCH_SIZE, FRAMES, CLASSES, 8, 8])
        return self.get_config(), {"pixel_values": pixel_values, "object_maps": maps}


class A2OTests(ModelTesterMixin):
    """Transformers' tests of models."""

    all_model_classes = (A2OForVideoClassification,)
    test_resize_embeddings = False
    inside: dict

    def setUp(self):
        self.model_tester = A2OModelTester(self.inside)
        self.config_tester = ConfigTester(self, config_class=A2OConfig, has_text_modality=False, common_properties=[])

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip("Pixels go in, and no embeddings in their place")
    def test_inputs_embeds(self):
        pass

    @unittest.skip("They are those of the classifier inside, and tested there")
    def test_model_get_set_embeddings(self):
        pass

    def test_forward_signature(self):
        assert list(inspect.signature(A2OForVideoClassification.forward).parameters)[1:3] == [
            "pixel_values",
            "object_maps",
        ]

    def outputs(self, **kwargs):
        """Outputs of a fresh model under eager attention."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        config._attn_implementation = "eager"
        model = A2OForVideoClassification(config).to(torch_device).eval()
        with torch.no_grad():
            return model(**inputs, **kwargs)

    def test_attention_outputs(self):
        assert len(self.outputs(output_attentions=True).attentions) >= 2

    def test_hidden_states_output(self):
        assert len(self.outputs(output_hidden_states=True).hidden_states) >= 3


class A2OAroundTSViTTest(A2OTests, unittest.TestCase):
    """Around a model that transformers does not have."""

    inside = TSVIT


PREDICTOR = "they want a gradient of every weight, and classification does not run V-JEPA 2's predictor"


class A2OAroundVJEPA2Test(A2OTests, unittest.TestCase):
    """Around the paper's model. Checkpointing is tested in `test_a2o_model.py`, by what it must not change."""

    inside = VJEPA2

    @unittest.skip(PREDICTOR)
    def test_training_gradient_checkpointing(self):
        pass

    @unittest.skip(PREDICTOR)
    def test_training_gradient_checkpointing_use_reentrant_false(self):
        pass

    @unittest.skip(PREDICTOR)
    def test_training_gradient_checkpointing_use_reentrant_true(self):
        pass
