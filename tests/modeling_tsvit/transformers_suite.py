"""The model test suite of transformers itself, run on TSViT: `make transformers-suite`.

Not part of `make test`: it needs the sources of the installed version of transformers, whose tests are not in its
wheel. By hand, with a source distribution or a clone of the same version:

    TRANSFORMERS_SOURCE=/path/of/transformers python -m pytest -o addopts= tests/modeling_tsvit/transformers_suite.py

What it found is in the tests beside this file. It skips what TSViT does not have, text and its tokens above all, and
what the machine does not have, such as a GPU.
"""

import inspect
import unittest

import torch
from fixtures.transformers_sources import add_tests_of_transformers
from transformers.models.auto import modeling_auto

from modeling_tsvit import (
    TSViTConfig,
    TSViTForActionSegmentation,
    TSViTForVideoClassification,
    TSViTModel,
    TSViTVideoProcessor,
)

add_tests_of_transformers()

from tests_of_transformers.test_configuration_common import ConfigTester  # noqa: E402  the path is made above
from tests_of_transformers.test_modeling_common import (  # noqa: E402
    ModelTesterMixin,
    floats_tensor,
    torch_device,
)
from tests_of_transformers.test_video_processing_common import (  # noqa: E402
    VideoProcessingTestMixin,
    prepare_video_inputs,
)

# The suite makes labels by these tables of names, which list transformers' own models only, and trains no base model.
modeling_auto.MODEL_MAPPING_NAMES["tsvit"] = "TSViTModel"
modeling_auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES["tsvit"] = "TSViTForVideoClassification"
modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES["tsvit"] = "TSViTForActionSegmentation"


class TSViTModelTester:
    """Tiny configurations and inputs, as the suite asks for them."""

    batch_size, num_frames, num_channels, image_size, grid_size = 3, 4, 3, 16, 2
    hidden_size, num_attention_heads, num_labels, is_training = 16, 2, 3, True
    num_spatial_layers = num_temporal_layers = 1
    num_hidden_layers = 2
    seq_length = num_frames  # what a frame's label is to a token's

    def get_config(self) -> TSViTConfig:
        """The configuration."""
        names = ("num_frames", "num_channels", "image_size", "grid_size", "hidden_size", "num_attention_heads")
        names += ("num_labels", "num_spatial_layers", "num_temporal_layers")
        return TSViTConfig(intermediate_size=24, **{name: getattr(self, name) for name in names})

    def prepare_config_and_inputs_for_common(self) -> tuple[TSViTConfig, dict[str, torch.Tensor]]:
        """The configuration and `pixel_values` (batch, frames, channels, height, width)."""
        shape = [self.batch_size, self.num_frames, self.num_channels, self.image_size, self.image_size]
        return self.get_config(), {"pixel_values": floats_tensor(shape)}


class TSViTModelTest(ModelTesterMixin, unittest.TestCase):
    """Transformers' tests of models. Those that are written anew expect the maps and states of two stages."""

    all_model_classes = (TSViTModel, TSViTForVideoClassification, TSViTForActionSegmentation)
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True  # read from a copyright line that our files do not have

    def setUp(self):
        self.model_tester = TSViTModelTester()
        self.config_tester = ConfigTester(self, config_class=TSViTConfig, has_text_modality=False, hidden_size=32)

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip("Pixels go in, and no embeddings in their place")
    def test_inputs_embeds(self):
        pass

    def test_model_get_set_embeddings(self):
        # As every model of images has it: the suite's own wants embeddings of tokens.
        config, _ = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            model = model_class(config)
            assert isinstance(model.get_input_embeddings(), torch.nn.Module)
            embeddings = torch.nn.Linear(2, 2)
            model.set_input_embeddings(embeddings)
            assert model.get_input_embeddings() is embeddings
            assert model.get_output_embeddings() is None

    def test_forward_signature(self):
        for model_class in self.all_model_classes:
            assert list(inspect.signature(model_class.forward).parameters)[1] == "pixel_values"

    def outputs(self, model_class, by_config: bool, **kwargs):
        """Outputs of a fresh model under eager attention, asked by arguments or by its configuration."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        config._attn_implementation = "eager"
        for name in kwargs if by_config else ():
            setattr(config, name, True)
        model = model_class(config).to(torch_device).eval()
        with torch.no_grad():
            return model(**inputs, **({} if by_config else kwargs))

    def test_attention_outputs(self):
        tester = self.model_tester
        frames, heads, tokens = tester.num_frames, tester.num_attention_heads, 1 + tester.grid_size**2
        expected = [(tester.batch_size, frames, heads, tokens, tokens), (tester.batch_size, heads, frames, frames)]
        for model_class in self.all_model_classes:
            for by_config in (False, True):
                attentions = self.outputs(model_class, by_config, output_attentions=True).attentions
                assert [tuple(attention.shape) for attention in attentions] == expected

    def test_hidden_states_output(self):
        tester = self.model_tester
        spatial = (tester.batch_size, tester.num_frames, 1 + tester.grid_size**2, tester.hidden_size)
        temporal = (tester.batch_size, tester.num_frames, tester.hidden_size)
        for model_class in self.all_model_classes:
            for by_config in (False, True):
                states = self.outputs(model_class, by_config, output_hidden_states=True).hidden_states
                assert [tuple(state.shape) for state in states] == [spatial] * 2 + [temporal] * 2


class TSViTVideoProcessingTester:
    """Tiny videos and settings, as the suite asks for them."""

    batch_size, num_frames, num_channels, min_resolution, max_resolution = 5, 8, 3, 30, 80

    def prepare_video_processor_dict(self) -> dict:
        """Settings of the processor."""
        return {
            "do_resize": True,
            "size": {"shortest_edge": 20},
            "do_center_crop": True,
            "crop_size": {"height": 18, "width": 18},
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "do_convert_rgb": True,
            "num_frames": self.num_frames,
        }

    def expected_output_video_shape(self, videos) -> list[int]:
        """Frames, channels, height and width of what comes out."""
        return [self.num_frames, self.num_channels, 18, 18]

    def prepare_video_inputs(self, equal_resolution=False, return_tensors="pil"):
        """A batch of random videos."""
        return prepare_video_inputs(
            batch_size=self.batch_size,
            num_frames=self.num_frames,
            num_channels=self.num_channels,
            min_resolution=self.min_resolution,
            max_resolution=self.max_resolution,
            equal_resolution=equal_resolution,
            return_tensors=return_tensors,
        )


class TSViTVideoProcessingTest(VideoProcessingTestMixin, unittest.TestCase):
    """Transformers' tests of video processors. Two are written anew: this processor does otherwise on purpose."""

    fast_video_processing_class = TSViTVideoProcessor
    input_name = "pixel_values"

    def setUp(self):
        super().setUp()
        self.video_processor_tester = TSViTVideoProcessingTester()

    @property
    def video_processor_dict(self) -> dict:
        """Settings of the processor."""
        return self.video_processor_tester.prepare_video_processor_dict()

    def test_video_processor_from_dict_with_kwargs(self):
        # One number is a square, as for ViT: the whole frame is resized, and guidance with it.
        processor = TSViTVideoProcessor.from_dict(self.video_processor_dict, size=42, crop_size=84)
        assert (processor.size.height, processor.size.width) == (42, 42)
        assert processor.crop_size == {"height": 84, "width": 84}

    def test_call_sample_frames(self):
        # A clip that is shorter than what is asked for repeats frames, in order, where the suite wants an error.
        processor = TSViTVideoProcessor(**self.video_processor_dict)
        for num_frames, fps, expected in ((3, None, 3), (None, 3, 6), (10, None, 10)):
            options = {"num_frames": num_frames} if fps is None else {"fps": fps}
            metadata = [{"duration": 2.0, "total_num_frames": 8, "fps": 4}]
            for kind in ("pil", "np", "torch"):
                videos = self.video_processor_tester.prepare_video_inputs(return_tensors=kind)
                batch = processor(videos, return_tensors="pt", video_metadata=metadata * len(videos), **options)
                assert batch["pixel_values"].shape == (len(videos), expected, 3, 18, 18)
