"""Drawing grids, heat maps and panels on frames. All pictures are uint8 RGB; row 0 is the top, column 0 the left."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FULL_FRAME = (0.0, 0.0, 1.0, 1.0)

ATTENTION_PEAK = 0.5
"""Share of a frame's attention in one cell that gets the last colour, wherever pictures of attention are compared: in
`vidreason.attention` and in the Space. More than half in one cell is as bright as half."""

Colormap = Callable[[np.ndarray], np.ndarray]
"""From values in [0, 1] of any shape to colours in [0, 1], (..., 3) or (..., 4) with an opacity that is not used.
matplotlib's are such functions."""

_TITLE_BACKGROUND, _TITLE_COLOR = (255, 255, 255), (20, 20, 20)
_GAP_PX = 8


def overlay_grid(
    frame: np.ndarray,
    weights: Sequence[float] | np.ndarray,
    grid: tuple[int, int],
    rectangle: tuple[float, float, float, float] = FULL_FRAME,
    color: tuple[int, int, int] = (255, 64, 64),
    lines: bool = True,
) -> np.ndarray:
    """Tint the cells of a grid in proportion to their weight, as the paper's figure 4 marks its 4 x 4 grid.

    The heaviest cell gets half colour, half picture. Cells of weight zero stay as they are.

    Args:
        frame: Picture, uint8 (height, width, 3).
        weights: Non-negative numbers, (rows * cols,) row-major from the top left, or (rows, cols).
        grid: Rows and columns of the grid.
        rectangle: Part (x0, y0, x1, y1) in [0, 1] of the frame that the grid covers.
        color: Red, green and blue of the tint, 0 to 255.
        lines: Whether the cells' borders are drawn.

    Returns:
        A new picture, uint8 (height, width, 3).

    Raises:
        ValueError: The weights do not fit the grid, are negative or not finite; or the rectangle leaves the frame.
    """
    _check_frame(frame)
    cells = _checked_weights(weights, grid)
    peak = cells.max()
    row_edges, col_edges = cell_edges(frame.shape[:2], grid, rectangle)
    result = frame.copy()
    colors = np.broadcast_to(np.array(color, dtype=np.float32), (*grid, 3))
    _blend_cells(result, colors, 0.5 * cells / peak if peak > 0 else cells, row_edges, col_edges)
    if lines:
        _draw_lines(result, row_edges, col_edges)
    return result


def overlay_heatmap(
    frame: np.ndarray,
    weights: Sequence[float] | np.ndarray,
    grid: tuple[int, int],
    alpha: float = 0.5,
    rectangle: tuple[float, float, float, float] = FULL_FRAME,
    colormap: str | Colormap = "magma",
    interpolate: bool = False,
    peak: float | None = None,
) -> np.ndarray:
    """Lay a colour map of a grid of weights over a frame. Colours run from zero to the heaviest cell, or to `peak`.

    Args:
        frame: Picture, uint8 (height, width, 3).
        weights: Non-negative numbers, (rows * cols,) row-major from the top left, or (rows, cols).
        grid: Rows and columns of the grid.
        alpha: Share of the colours, 0 to 1.
        rectangle: Part (x0, y0, x1, y1) in [0, 1] of the frame that the grid covers.
        colormap: "magma", "gray", or a function such as `matplotlib.colormaps["viridis"]`.
        peak: Weight that gets the last colour, so that pictures compare; None takes the heaviest cell's.
        interpolate: Whether colours are smooth between the centres of cells; otherwise each cell has one colour.

    Returns:
        A new picture, uint8 (height, width, 3).

    Raises:
        ValueError: The weights do not fit the grid, are negative or not finite; the rectangle leaves the frame; alpha
            is outside [0, 1]; or the name of the colour map is unknown.
    """
    _check_frame(frame)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be within [0, 1], got {alpha}")
    cells = _checked_weights(weights, grid)
    peak = float(cells.max()) if peak is None else peak
    cells = np.minimum(cells / peak, 1) if peak > 0 else cells
    row_edges, col_edges = cell_edges(frame.shape[:2], grid, rectangle)
    size = (int(col_edges[-1] - col_edges[0]), int(row_edges[-1] - row_edges[0]))
    smooth = interpolate and min(size) > 0
    values = np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR)) if smooth else cells
    colors = (_named_colors(colormap, values) if isinstance(colormap, str) else colormap(values))[..., :3] * 255
    result = frame.copy()
    if smooth:
        region = result[row_edges[0] : row_edges[-1], col_edges[0] : col_edges[-1]]
        region[:] = _blend(region, colors, alpha)
    else:
        _blend_cells(result, colors, np.full(grid, alpha), row_edges, col_edges)
    return result


def side_by_side(panels: Sequence[tuple[str, np.ndarray]], height_px: int) -> np.ndarray:
    """Put titled pictures in a row, scaled to one height, on an even size that H.264 can hold.

    Args:
        panels: Title and picture, uint8 (height, width, 3), of each panel from left to right.
        height_px: Height of the pictures in pixels, below their titles.

    Returns:
        A picture, uint8 (height, width, 3), height and width even.

    Raises:
        ValueError: There are no panels, the height is below 2, or a picture is not uint8 (height, width, 3).
    """
    if not panels:
        raise ValueError("no panels to put side by side")
    if height_px < 2:
        raise ValueError(f"height_px must be at least 2, got {height_px}")
    for _, frame in panels:
        _check_frame(frame)
    font_px = max(10, height_px // 16)
    font = ImageFont.load_default(size=font_px)
    strip_px = int(font_px * 1.6)  # a line of text with some air
    pictures = [_scaled_to_height(frame, height_px) for _, frame in panels]
    width = sum(picture.width for picture in pictures) + _GAP_PX * (len(pictures) - 1)
    height = strip_px + height_px
    canvas = Image.new("RGB", (width + width % 2, height + height % 2), _TITLE_BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    left = 0
    for (title, _), picture in zip(panels, pictures, strict=True):
        text = _shortened(title, draw, font, picture.width)
        draw.text((left + picture.width // 2, strip_px // 2), text, fill=_TITLE_COLOR, font=font, anchor="mm")
        canvas.paste(picture, (left, strip_px))
        left += picture.width + _GAP_PX
    return np.asarray(canvas)


def _named_colors(name: str, values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] to colours (..., 3), as matplotlib's colour map of 256 colours has them."""
    if name not in ("magma", "gray"):
        raise ValueError(f"colormap is {name!r}, expected 'magma', 'gray' or a function")
    colors = _magma() if name == "magma" else np.linspace(0, 1, 256)[:, None].repeat(3, axis=1)
    return colors[np.minimum((values * 256).astype(int), 255)]  # the last colour is that of its range and of 1 itself


@functools.cache
def _magma() -> np.ndarray:
    """The colours of magma, float64 (256, 3). A table of our own, as matplotlib takes a second to import."""
    return np.loadtxt(Path(__file__).with_name("magma.txt"))


def cell_edges(
    frame_size: tuple[int, int], grid: tuple[int, int], rectangle: tuple[float, float, float, float] = FULL_FRAME
) -> tuple[np.ndarray, np.ndarray]:
    """Where the cells of a grid begin and end, in whole pixels.

    Args:
        frame_size: Height and width in pixels.
        grid: Rows and columns of the grid.
        rectangle: Part (x0, y0, x1, y1) in [0, 1] of the frame that the grid covers.

    Returns:
        Edges from the top, int (rows + 1,), and from the left, int (cols + 1,). A pixel belongs to the cell that holds
        its centre, so that the cells tile the rectangle without a gap where sizes do not divide.

    Raises:
        ValueError: The rectangle is empty or leaves the frame.
    """
    x0, y0, x1, y1 = rectangle
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise ValueError(f"rectangle must be x0 < x1, y0 < y1 within [0, 1], got {tuple(rectangle)}")
    height, width = frame_size
    return _pixel_edges(y0 * height, y1 * height, grid[0]), _pixel_edges(x0 * width, x1 * width, grid[1])


def _pixel_edges(start: float, stop: float, cells: int) -> np.ndarray:
    """The first pixel of each cell, and the end: int (cells + 1,)."""
    # the last term puts a centre that lies on an edge into the later cell, whatever the rounding of floats
    return np.ceil(np.linspace(start, stop, cells + 1) - 0.5 - 1e-9).astype(int)


def _check_frame(frame: np.ndarray) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"expected a uint8 (height, width, 3) frame, got {frame.dtype} {frame.shape}")


def _checked_weights(weights: Sequence[float] | np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Weights as float32 (rows, cols)."""
    cells = np.asarray(weights, dtype=np.float32)
    if min(grid) < 1 or cells.shape not in ((grid[0] * grid[1],), tuple(grid)):
        raise ValueError(f"weights of shape {cells.shape} do not fit a grid of {grid[0]} x {grid[1]}")
    if not np.isfinite(cells).all() or (cells < 0).any():
        raise ValueError("weights must be finite and non-negative")
    return cells.reshape(grid)


def _blend_cells(
    picture: np.ndarray, colors: np.ndarray, strength: np.ndarray, row_edges: np.ndarray, col_edges: np.ndarray
) -> None:
    """Blend the colour (rows, cols, 3) of each cell into uint8 (height, width, 3), at its strength (rows, cols).

    Cell by cell: to look a colour up for every pixel takes eight times as long, and the Space draws hundreds of frames
    while a visitor waits.
    """
    for row, col in np.ndindex(*strength.shape):
        if strength[row, col] > 0:
            cell = picture[row_edges[row] : row_edges[row + 1], col_edges[col] : col_edges[col + 1]]
            cell[:] = _blend(cell, colors[row, col], float(strength[row, col]))


def _blend(picture: np.ndarray, colors: np.ndarray, strength: float) -> np.ndarray:
    """uint8 (height, width, 3) with `colors`, (3,) or (height, width, 3), at a strength of 0 to 1."""
    blended = picture * np.float32(1 - strength)
    blended += np.asarray(colors * strength, dtype=np.float32)
    return np.rint(blended, out=blended).astype(np.uint8)


def _draw_lines(picture: np.ndarray, row_edges: np.ndarray, col_edges: np.ndarray) -> None:
    """Draw one pixel wide borders into (height, width, 3), brightened so that they show on dark and light."""
    height, width = picture.shape[:2]
    rows = slice(row_edges[0], row_edges[-1])
    cols = slice(col_edges[0], col_edges[-1])
    mask = np.zeros((height, width), dtype=bool)
    mask[np.minimum(row_edges, height - 1), cols] = True
    mask[rows, np.minimum(col_edges, width - 1)] = True
    picture[mask] = picture[mask] // 2 + 127


def _scaled_to_height(frame: np.ndarray, height_px: int) -> Image.Image:
    """uint8 (height, width, 3) to a picture of this height, aspect ratio kept."""
    height, width = frame.shape[:2]
    size = (max(1, round(width * height_px / height)), height_px)
    # small frames are enlarged pixel by pixel, so that what the model saw is what is shown
    method = Image.Resampling.NEAREST if height_px >= 2 * height else Image.Resampling.BILINEAR
    return Image.fromarray(frame).resize(size, method)


def _shortened(
    title: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int
) -> str:
    if draw.textlength(title, font=font) <= width_px:
        return title
    while title and draw.textlength(title + "…", font=font) > width_px:
        title = title[:-1]
    return title + "…" if title else ""
