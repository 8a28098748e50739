"""Frames as JPEG: the two decoders give the same, and damage is an error."""

import numpy as np
import pytest

from vidreason.errors import VideoError
from vidreason.video import jpeg
from vidreason.video.jpeg import decode_jpegs, encode_jpeg


def frame(height: int = 30, width: int = 47) -> np.ndarray:
    rows, cols = np.mgrid[:height, :width]
    return np.stack([rows * 4, cols * 3, rows + cols], axis=-1).astype(np.uint8)


@pytest.fixture(params=["pillow", "simplejpeg"])
def decoder(request, monkeypatch):
    if request.param == "pillow":
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    elif jpeg.simplejpeg is None:
        pytest.skip("simplejpeg is not installed")


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_frames_come_back(decoder, subsampling):
    frames = [frame(), frame()[::-1]]
    decoded = decode_jpegs([encode_jpeg(picture, 95, subsampling) for picture in frames], "here")
    assert decoded.shape == (2, 30, 47, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - np.stack(frames)).mean() < 3


def test_the_decoders_agree(monkeypatch):
    simplejpeg = pytest.importorskip("simplejpeg")
    for subsampling in ("4:2:0", "4:4:4"):
        encoded = [encode_jpeg(frame(height, 47), 90, subsampling) for height in (30, 31)]
        for one in encoded:
            monkeypatch.setattr(jpeg, "simplejpeg", simplejpeg)
            fast = decode_jpegs([one], "here")
            monkeypatch.setattr(jpeg, "simplejpeg", None)
            assert np.array_equal(fast, decode_jpegs([one], "here"))


@pytest.mark.parametrize("damage", ["empty", "foreign", "cut", "head"])
def test_damage_is_named(decoder, damage):
    whole = encode_jpeg(frame(), 90, "4:2:0")
    damaged = {"empty": b"", "foreign": b"GIF89a" + whole, "cut": whole[: len(whole) // 2], "head": whole[:20]}[damage]
    with pytest.raises(VideoError, match=r"store: a video: decode failed \(damaged JPEG"):
        decode_jpegs([whole, damaged], "store: a video")


def test_frames_of_unequal_sizes_are_no_clip(decoder):
    pictures = [encode_jpeg(frame(height), 90, "4:2:0") for height in (30, 32)]
    with pytest.raises(VideoError, match=r"\(30, 47\) and of \(32, 47\)"):
        decode_jpegs(pictures, "here")
