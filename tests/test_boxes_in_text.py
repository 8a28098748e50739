"""Places in text: scales, orders, and models that have their own."""

import itertools

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from vidreason.boxes_in_text import (
    CONVENTIONS,
    ORDERS,
    PIXELS,
    UNITS,
    BoxConvention,
    ModelResizing,
    boxes_from_text,
    boxes_to_text,
    find_convention,
    find_family,
    points_from_text,
    points_to_text,
)
from vidreason.errors import ConfigError, InvalidAnswer

SENT, ORIGINAL = (240, 426), (1080, 1920)  # (height, width)


@pytest.mark.parametrize(
    ("convention", "written"),
    [
        # the box from (0.25, 0.5) to (0.75, 0.625) of a frame
        (BoxConvention("share"), [0.25, 0.5, 0.75, 0.625]),
        (BoxConvention("share", "xywh"), [0.25, 0.5, 0.5, 0.125]),
        (BoxConvention("share", "cxcywh"), [0.5, 0.5625, 0.5, 0.125]),
        (BoxConvention("0-1000"), [250, 500, 750, 625]),
        (BoxConvention("0-1000", "yxyx"), [500, 250, 625, 750]),
        (BoxConvention("0-999"), [249.75, 499.5, 749.25, 624.375]),
        (BoxConvention("original_pixels"), [480, 540, 1440, 675]),
        (BoxConvention("original_pixels", "xywh"), [480, 540, 960, 135]),
        (PIXELS, [106.5, 120, 319.5, 150]),
        (CONVENTIONS["qwen2.5-vl"], [105, 126, 315, 157.5]),  # which sees 252 x 420
        (CONVENTIONS["gemini"], [500, 250, 625, 750]),
    ],
)
def test_a_box_is_read_in_each_scale_and_order(convention, written):
    np.testing.assert_allclose(boxes_from_text([written], convention, SENT, ORIGINAL), [[0.25, 0.5, 0.75, 0.625]])


def test_boxes_and_points_come_back_from_text_on_a_frame_that_is_not_square():
    rng = np.random.default_rng(0)
    conventions = [BoxConvention(unit, order) for unit, order in itertools.product(UNITS, ORDERS)]
    for convention in (*conventions, *CONVENTIONS.values()):
        corners = np.sort(rng.random((200, 2, 2)), axis=1).reshape(-1, 4)
        height, width = (1000, 1000) if convention.unit == "share" else convention.sides(SENT, ORIGINAL)
        half = np.asarray([0.5 / width, 0.5 / height])
        written = boxes_to_text(corners, convention, SENT, ORIGINAL)
        # numbers are rounded; a far corner is the sum of two of them
        again = boxes_from_text(written, convention, SENT, ORIGINAL)
        assert (np.abs(again - corners) <= 2 * np.tile(half, 2) + 1e-9).all(), convention
        if convention.order in ("xyxy", "yxyx"):
            assert boxes_to_text(again, convention, SENT, ORIGINAL) == written, convention
        points = points_to_text(corners[:, :2], convention, SENT, ORIGINAL)
        found = points_from_text(points, convention, SENT, ORIGINAL)
        assert (np.abs(found - corners[:, :2]) <= half + 1e-9).all(), convention
        assert points_to_text(found, convention, SENT, ORIGINAL) == points, convention


def test_the_order_of_a_point_is_that_of_a_corner():
    assert points_from_text([[500, 250]], CONVENTIONS["gemini"], SENT).tolist() == [[0.25, 0.5]]
    assert points_to_text(np.asarray([[0.25, 0.5]]), CONVENTIONS["gemini"], SENT) == [[500, 250]]


@pytest.mark.parametrize(
    ("convention", "box", "message"),
    [
        (PIXELS, [230, 220, 870, 235], r"cannot be in pixels of a picture of 240 x 426"),
        (BoxConvention("original_pixels"), [0, 0, 1921, 1200], r"cannot be in pixels of a picture of 1080 x 1920"),
        (BoxConvention("0-1000"), [0, 0, 1025, 500], "cannot be in the scale 0-1000"),
        (BoxConvention("0-999"), [-30, 0, 500, 500], "cannot be in the scale 0-999"),
        (BoxConvention("share"), [10, 20, 30, 40], r"cannot be in shares of the sides in \[0, 1\]"),
        (BoxConvention("0-1000"), [500, 0, 250, 500], r"\[500, 0, 250, 500\] is no box in the order xyxy"),
        (BoxConvention("0-1000"), [0, 0, float("nan"), 1], "not a finite number"),
        (BoxConvention("0-1000"), [0, 0, 1], "4 numbers"),
        (BoxConvention("0-1000"), [0, 0, "x", 1], "4 numbers"),
    ],
)
def test_numbers_that_cannot_be_of_the_scale_are_named(convention, box, message):
    with pytest.raises(InvalidAnswer, match=message):
        boxes_from_text([box], convention, SENT, ORIGINAL)


def test_numbers_just_beyond_the_border_are_moved_to_it():
    assert boxes_from_text([[-8, 0, 1015, 1000]], BoxConvention("0-1000"), SENT).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("size", [(240, 320), (240, 426), (1080, 1920), (28, 28), (20, 300), (5000, 7000), (42, 70)])
def test_pictures_are_resized_as_the_models_own_processor_does(size):
    resizing = ModelResizing()
    limits = {"factor": 28, "min_pixels": resizing.min_pixels, "max_pixels": resizing.max_pixels}
    assert resizing.resized(size) == smart_resize(*size, **limits)
    small = ModelResizing(max_pixels=200 * 28 * 28)
    assert small.resized(size) == smart_resize(*size, **{**limits, "max_pixels": small.max_pixels})


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen2-vl"),
        ("/models/Qwen2.5-VL-7B-Instruct-AWQ", "qwen2.5-vl"),
        ("qwen2_5_vl", "qwen2.5-vl"),
        ("qwen3-vl-plus", "qwen3-vl"),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", "qwen3-vl"),
        ("models/gemini-2.5-flash", "gemini"),
        ("OpenGVLab/InternVL3-8B", "internvl"),
        ("gpt-4.1-mini-2025-04-14", "gpt"),
        ("openai/o4-mini", "gpt"),
        ("m", None),
        ("Qwen/Qwen2.5-7B-Instruct", None),
    ],
)
def test_families_are_known_by_names_as_servers_give_them(model, family):
    assert find_family(model) == family


def test_conventions_are_found_by_family_and_by_unit():
    assert find_convention("qwen3-vl").unit == "0-1000" and find_convention("pixels") == PIXELS
    assert find_convention("0-999") == BoxConvention("0-999")
    with pytest.raises(ConfigError, match="there is no scale of coordinates 'inches'; there are pixels"):
        find_convention("inches")
    with pytest.raises(ConfigError, match="unit of boxes is 'inches'"):
        BoxConvention("inches")
    with pytest.raises(ConfigError, match="order of boxes is 'yx'"):
        BoxConvention("share", "yx")
