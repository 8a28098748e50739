"""A tiny Video-LLM from scratch: a model of a few million parameters that learns a drawn world on a CPU in minutes.

It is a Qwen3-VL in small (vision tower, merger, decoder and processor of `transformers`), so whatever answers or
trains with the large ones does with it. Its tokenizer knows whole words: those of the texts that it is made for. It
knows nothing before it is trained.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<unk>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PAD, UNKNOWN, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE, VIDEO = SPECIAL_TOKENS

MAX_TIME_S = 60.0
"""Latest time that has a token of its own; the processor writes times of frames to a tenth of a second."""

_TIME = r"<\d+\.\d seconds>"
_WORD = re.compile(rf"{_TIME}|\w+|[^\w\s]")
_ROLES = ("system", "user", "assistant")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|video_pad|>"
    "{% elif part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
"""Turns as Qwen's models mark them. There are no line breaks, which a tokenizer of words does not keep, and no signs
around a video: the processor puts them around each of its frames."""


@dataclass(frozen=True)
class TinyVideoLLMSettings:
    """Size of the model. The default has between one and two million parameters.

    Raises:
        ConfigError: Sizes that do not fit together.
    """

    side_px: int = field(default=64, metadata={"help": "Side in pixels that square frames are scaled to."})
    patch_px: int = field(default=8, metadata={"help": "Side in pixels of a patch; two frames go into each."})
    vision_width: int = field(default=96, metadata={"help": "Width of the vision tower."})
    vision_layers: int = field(default=3, metadata={"help": "Layers of the vision tower."})
    width: int = field(default=128, metadata={"help": "Width of the decoder."})
    layers: int = field(default=4, metadata={"help": "Layers of the decoder."})
    heads: int = field(default=4, metadata={"help": "Attention heads of the decoder; of the vision tower four."})
    initializer_range: float = field(
        default=0.1, metadata={"help": "Standard deviation of the first weights, larger than in wide models."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the first weights."})

    def __post_init__(self) -> None:
        if self.side_px % (2 * self.patch_px) or self.patch_px < 2:
            raise ConfigError(f"frames of {self.side_px} px have no whole number of {2 * self.patch_px} px cells")
        if self.width % (8 * self.heads) or self.vision_width % 16:
            raise ConfigError(
                f"width {self.width} with {self.heads} heads and vision width {self.vision_width}: expected a width "
                "of 8 times a whole number for each head, and of 16 times one in the vision tower of four heads"
            )


def make_tiny_video_llm(
    texts: Iterable[str], settings: TinyVideoLLMSettings | None = None
) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """Make an untrained model and its processor, whose words are those of some texts.

    The same texts and settings give the same weights.

    Args:
        texts: All that the model is to read and write: questions, answers, prompts. A word that is in none of them is
            read as unknown, and is never written.
        settings: Size of the model.

    Returns:
        The model, an `AutoModelForImageTextToText`, and the processor, an `AutoProcessor`.
    """
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    settings = settings or TinyVideoLLMSettings()
    processor = _make_processor(make_word_tokenizer(texts), settings)
    config = Qwen3VLConfig(**_config(processor.tokenizer, settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, processor


def save_tiny_video_llm(
    folder: str | os.PathLike, texts: Iterable[str], settings: TinyVideoLLMSettings | None = None
) -> Qwen3VLForConditionalGeneration:
    """Make an untrained model and write it with its processor to a folder, for `from_pretrained`.

    Args:
        folder: Folder to write.
        texts: See `make_tiny_video_llm`.
        settings: Size of the model.

    Returns:
        The model.
    """
    model, processor = make_tiny_video_llm(texts, settings)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model


def make_word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, in lower case, with the signs of a chat and a token for each time of a frame.

    Args:
        texts: Texts whose words and signs are its vocabulary.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in _WORD.findall(text.lower())} | set(_ROLES))
    times = [f"<{tenth / 10:.1f} seconds>" for tenth in range(round(10 * MAX_TIME_S) + 1)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys((*SPECIAL_TOKENS, *words, *times)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    # what the pattern matches is a word, and what lies between is space, which is left out
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORD.pattern), behavior="isolated"),
            pre_tokenizers.Split(Regex(r"^\s+$"), behavior="removed"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START, VISION_START, VISION_END, IMAGE, VIDEO],
        clean_up_tokenization_spaces=False,
    )


def _make_processor(tokenizer: PreTrainedTokenizerFast, settings: TinyVideoLLMSettings) -> Qwen3VLProcessor:
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    pixels = settings.side_px**2
    shared: dict[str, Any] = {
        "patch_size": settings.patch_px,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    # the limits of a video are of all its frames together; a frame is scaled to `side_px` where it has 8 of them
    frames = {"shortest_edge": 2 * pixels, "longest_edge": 8 * pixels}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size={"shortest_edge": pixels, "longest_edge": pixels}, **shared),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=frames, cap_pixels_per_frame=False, **shared),
        chat_template=CHAT_TEMPLATE,
    )


def _config(tokenizer: PreTrainedTokenizerFast, settings: TinyVideoLLMSettings) -> dict[str, Any]:
    head = settings.width // settings.heads
    # a quarter of the rotary halves for time, the rest for height and width, about as in the large models
    side = head // 8 * 3 // 2
    return {
        "text_config": {
            "vocab_size": len(tokenizer),
            "hidden_size": settings.width,
            "intermediate_size": 8 * settings.width // 3 // 32 * 32,
            "num_hidden_layers": settings.layers,
            "num_attention_heads": settings.heads,
            "num_key_value_heads": settings.heads,
            "head_dim": head,
            "max_position_embeddings": 4096,
            "initializer_range": settings.initializer_range,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [head // 2 - 2 * side, side, side],
                "mrope_interleaved": True,
            },
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
        "vision_config": {
            "depth": settings.vision_layers,
            "hidden_size": settings.vision_width,
            "intermediate_size": 3 * settings.vision_width,
            "num_heads": 4,
            "patch_size": settings.patch_px,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "out_hidden_size": settings.width,
            "num_position_embeddings": (settings.side_px // settings.patch_px) ** 2,
            "deepstack_visual_indexes": [settings.vision_layers // 2],
            "initializer_range": settings.initializer_range,
        },
        "image_token_id": tokenizer.convert_tokens_to_ids(IMAGE),
        "video_token_id": tokenizer.convert_tokens_to_ids(VIDEO),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids(VISION_START),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids(VISION_END),
        "tie_word_embeddings": True,
    }
