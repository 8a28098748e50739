"""Single pictures of a clip beside one another: what each checkpoint attended to, and the guidance."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from vidreason.guidance import GridMap
from vidreason.video import side_by_side, uniform_indices

from .agreement import FrameAgreement
from .analysis import Analysis
from .painting import enlarge, paint_attention, paint_guidance
from .reading import Clip

STRIP_PICTURES = 8
_HEIGHT_PX = 200
_MAX_WIDTH_PX = 800  # of a panel: a frame that is one line would be as long as a street at 200 pixels of height
_STRENGTH = 0.5


def make_strip(
    clip: Clip,
    answers: Sequence[tuple[str, Analysis, Sequence[FrameAgreement]]],
    guidance: Sequence[GridMap | None],
    count: int = STRIP_PICTURES,
) -> list[tuple[np.ndarray, str]]:
    """Pictures at equal distances in time with a line about each.

    Args:
        clip: Clip as it was read.
        answers: (name of the checkpoint, what it makes of the clip, each picture's agreement) of each checkpoint.
        guidance: Guidance of each picture.
        count: Largest number of pictures.

    Returns:
        (picture, caption) of each, a picture being (height, width, 3) uint8.
    """
    height, width = clip.frames.shape[1:3]
    height_px = min(_HEIGHT_PX, max(2, _MAX_WIDTH_PX * height // width))
    strip = []
    for position in uniform_indices(len(clip.shown), min(count, len(clip.shown))):
        frame = enlarge(clip.frames[clip.shown[position]], _MAX_WIDTH_PX)
        panels = [
            (name, paint_attention(frame, analysis.attention[position], _STRENGTH)) for name, analysis, _ in answers
        ]
        panels.append(("guidance", paint_guidance(frame, guidance[position])))
        facts = [f"{name}: {_in_words(frames[position])}" for name, _, frames in answers]
        caption = f"{clip.shown_times_s[position]:.2f} s. {'; '.join(facts)}"
        strip.append((side_by_side(panels, height_px), caption))
    return strip


def strip_html(strip: Sequence[tuple[np.ndarray, str]]) -> str:
    """A strip with its pictures in it, which needs no files, and says to screen readers what it shows.

    Args:
        strip: (picture, caption) of each, as `make_strip` gives them.
    """
    figures = []
    for picture, caption in strip:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=85)
        source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
        text = escape(caption, quote=True)
        figures.append(f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>')
    return f'<div class="vr-strip">{"".join(figures)}</div>'


def _in_words(frame: FrameAgreement) -> str:
    if frame.mass is None:
        return "no guidance"
    return f"{100 * frame.mass:.0f} % inside, KL {frame.divergence:.2f}, {'hit' if frame.hit else 'miss'}"
