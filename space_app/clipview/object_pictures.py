"""What is shown of object maps: rows of pictures for classes that were found, what the adapter adds, a table."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from vidreason.detection import Found, render_maps
from vidreason.video import overlay_heatmap, uniform_indices

from .objects import Channel, ObjectsAnswer
from .painting import enlarge
from .reading import Clip

PICTURES, ROWS = 8, 16
_HEIGHT_PX, _MAX_WIDTH_PX = 96, 170  # of a picture: a frame that is one line stays within its place
_GAP_PX = 4
_STRENGTH = 0.6


def maps_html(answer: ObjectsAnswer, clip: Clip) -> str:
    """Rows of pictures over the same frames: the clip, the map of each class that was found, and the adapter's.

    Args:
        answer: What a checkpoint made of the clip.
        clip: Clip as it was read.
    """
    places = uniform_indices(len(answer.positions), min(PICTURES, len(answer.positions)))
    frames = [enlarge(clip.frames[answer.positions[place]], _MAX_WIDTH_PX) for place in places]
    size = panel_size(*clip.frames.shape[1:3])
    times = ", ".join(f"{clip.times_s[answer.positions[place]]:.1f}" for place in places)
    rows = [(f"The clip, at {times} s", frames)]
    found = sorted((channel for channel in answer.channels if channel.frames_with), key=lambda c: -c.frames_with)
    for channel in found[:ROWS]:
        of_places = [channel.found[place] for place in places]
        tinted = [_tinted(frame, found_there) for frame, found_there in zip(frames, of_places, strict=True)]
        rows.append((_in_words(channel, len(answer.positions)), tinted))
    if answer.added is not None:
        title = "What the adapter adds to the frames: nothing" if not found else "What the adapter adds to the frames"
        enlarged = "" if not found else f", times {answer.gain:.2g} around grey"
        rows.append((title + enlarged, [answer.added[place] for place in places]))
        rows.append(("What the classifier inside sees", [answer.seen[place] for place in places]))
    figures = "".join(picture_row(caption, pictures, size) for caption, pictures in rows)
    more = len(found) - ROWS
    note = f'<p class="vr-note">{more} more classes were found and are not drawn.</p>' if more > 0 else ""
    return f'<div class="vr-maps" data-testid="maps">{figures}{note}</div>'


def channels_table(channels: Sequence[Channel], detector: str) -> str:
    """What each channel was given, as a table.

    Args:
        channels: The channels in their order.
        detector: Name of the detector.
    """
    rows = "".join(
        f"<tr><th scope='row'>{escape(channel.trained)}</th><td>{escape(channel.asked or 'nothing')}</td>"
        f"<td>{escape(_outcome(channel, detector))}</td></tr>"
        for channel in channels
    )
    head = "".join(f"<th scope='col'>{text}</th>" for text in ("channel learned with", "looked for", "found"))
    table = f'<table class="vr-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="vr-scroll" data-testid="channels">{table}</div>'


def _outcome(channel: Channel, detector: str) -> str:
    if channel.asked is None:
        return "a map of zeros"
    if channel.is_unknown:
        return f"unknown to {detector}: a map of zeros"
    failed = sum(one.status not in ("ok", "empty") for one in channel.found)
    if failed:
        return f"no answer in {failed} of {len(channel.found)} frames"
    if not channel.frames_with:
        return "not found: a map of zeros"
    return f"in {channel.frames_with} of {len(channel.found)} frames, score up to {channel.best:.2f}"


def _in_words(channel: Channel, num_frames: int) -> str:
    of = "" if channel.asked == channel.trained else f" in the channel of {channel.trained}"
    return f"{channel.asked}{of}: in {channel.frames_with} of {num_frames} frames, score up to {channel.best:.2f}"


def _tinted(frame: np.ndarray, found: Found) -> np.ndarray:
    """frame: uint8 (height, width, 3) -> the same under the colours of the map of what was found in it."""
    score_map = render_maps([found], frame.shape[:2])[0]
    return overlay_heatmap(frame, score_map.reshape(-1), score_map.shape, alpha=_STRENGTH, peak=1.0)


def panel_size(
    height: int, width: int, max_height_px: int = _HEIGHT_PX, max_width_px: int = _MAX_WIDTH_PX
) -> tuple[int, int]:
    """(width, height) of a picture in a row, in pixels, by its own height and width and the most of each."""
    scale = min(max_height_px / height, max_width_px / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def picture_row(caption: str, pictures: Sequence[np.ndarray], size: tuple[int, int]) -> str:
    """A row of pictures with its words, which stand in the picture's place for screen readers too.

    Args:
        caption: The words.
        pictures: uint8 (height, width, 3) each.
        size: (width, height) in pixels that each is drawn with.
    """
    width, height = size
    row = Image.new("RGB", (len(pictures) * (width + _GAP_PX) - _GAP_PX, height), "white")
    for place, picture in enumerate(pictures):
        # what models see is of few pixels: seen as such, not as a blur
        how = Image.Resampling.BILINEAR if picture.shape[1] > width else Image.Resampling.NEAREST
        row.paste(Image.fromarray(picture).resize(size, how), (place * (width + _GAP_PX), 0))
    buffer = io.BytesIO()
    row.save(buffer, "JPEG", quality=85)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    text = escape(caption, quote=True)
    return f'<figure><figcaption>{text}</figcaption><img src="{source}" alt="{text}"></figure>'
