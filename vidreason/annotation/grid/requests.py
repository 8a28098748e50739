"""What is asked of a vision-language model about one frame: the picture, the words around it, and the settings."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ...errors import ConfigError
from ...llm.chat import DEFAULT_MODEL, ChatRequest, image_part
from .prompts import Prompt


@dataclass(frozen=True)
class LLMSettings:
    """What is asked of the model about each frame. A change of any of it makes other requests.

    Args:
        model: its name at the server.
        grid: (rows, columns) of the guidance.
        dataset_name: of the data set, as the prompt names it.
        label_in_prompt: tell the model the action, as the paper does; guidance made so is for training only.
        max_side_px: longer side of the picture that is sent; None sends frames as they are.
        jpeg_quality: of the picture, 1 to 95.
        image_detail: of the OpenAI API: "auto", "low" or "high".
        max_completion_tokens: at which an answer is cut, and counts as `truncated`.
        temperature: None leaves it to the server.
        samples_per_frame: answers that are asked for and merged into one map.
        structured: ask for an answer by JSON schema. Servers that cannot are asked without.
    """

    model: str = DEFAULT_MODEL
    grid: tuple[int, int] = (4, 4)
    dataset_name: str = ""
    label_in_prompt: bool = True
    max_side_px: int | None = None
    jpeg_quality: int = 90
    image_detail: str = "auto"
    max_completion_tokens: int = 300
    temperature: float | None = 0.0
    samples_per_frame: int = 1
    structured: bool = True

    def __post_init__(self):
        if min(self.grid) < 1:
            raise ConfigError(f"grid is {self.grid}, expected rows and columns >= 1")
        if self.image_detail not in ("auto", "low", "high"):
            raise ConfigError(f"image_detail is {self.image_detail!r}, expected auto, low or high")
        if not 1 <= self.jpeg_quality <= 95:
            raise ConfigError(f"jpeg_quality is {self.jpeg_quality}, expected 1 to 95")
        if self.max_side_px is not None and self.max_side_px < 16:
            raise ConfigError(f"max_side_px is {self.max_side_px}, expected at least 16")
        if self.samples_per_frame < 1 or self.max_completion_tokens < 1:
            raise ConfigError("samples_per_frame and max_completion_tokens must be at least 1")
        if self.samples_per_frame > 1 and self.temperature == 0:
            raise ConfigError("samples_per_frame > 1 wants a temperature above 0: else all samples are the same")


def make_requests(
    prompt: Prompt, settings: LLMSettings, label: str | None, jpeg: bytes, size: tuple[int, int]
) -> list[ChatRequest]:
    """The requests about one picture, one for each sample.

    Args:
        prompt: what the model is told.
        settings: what is asked.
        label: the action's name, or None to leave it out.
        jpeg: the picture.
        size: (height, width) of the picture in pixels.
    """
    system, user = prompt.render(
        grid=settings.grid,
        label=label,
        frame_height=size[0],
        frame_width=size[1],
        dataset_name=settings.dataset_name,
    )
    content = [{"type": "text", "text": user}, image_part(jpeg, settings.image_detail)]
    first = ChatRequest(
        model=settings.model,
        messages=[{"role": "system", "content": system}, {"role": "user", "content": content}],
        max_completion_tokens=settings.max_completion_tokens,
        temperature=settings.temperature,
        schema=prompt.schema(settings.grid) if settings.structured else None,
        image_sizes=(size,),
    )
    if settings.samples_per_frame == 1:
        return [first]
    return [replace(first, seed=sample) for sample in range(settings.samples_per_frame)]


def encode_jpeg(picture: np.ndarray, max_side_px: int | None, quality: int) -> tuple[bytes, tuple[int, int]]:
    """A JPEG of a frame, scaled down where it is larger.

    Args:
        picture: uint8 (height, width, 3), RGB.
        max_side_px: longer side at most; None leaves the size.
        quality: 1 to 95.

    Returns:
        The file's bytes, and the (height, width) of the picture in it.
    """
    image = Image.fromarray(picture)
    if max_side_px is not None:
        image.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue(), (image.height, image.width)
