"""H.264 files that browsers play."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vidreason.errors import VidreasonError
from vidreason.video import decode_frames, probe_video, write_animation, write_video


def moving_square(num_frames=10, height=48, width=64):
    """uint8 (height, width, 3) each: a red square that moves over a gradient."""
    for number in range(num_frames):
        frame = np.empty((height, width, 3), dtype=np.uint8)
        frame[:] = np.linspace(40, 200, width).astype(np.uint8)[None, :, None]
        frame[8:24, 4 * number : 4 * number + 16] = (220, 20, 20)
        yield frame


def test_the_file_is_h264_yuv420p_with_its_index_first(tmp_path):
    path = write_video(tmp_path / "new" / "a.mp4", moving_square(), fps=30000 / 1001)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate.numerator, stream.average_rate.denominator) == (30000, 1001)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert list(path.parent.iterdir()) == [path]


def test_frames_come_back(tmp_path):
    frames = np.stack(list(moving_square()))
    path = write_video(tmp_path / "a.mp4", frames, fps=12.5, crf=10)
    decoded = decode_frames(path)
    assert decoded.frames.shape == frames.shape
    np.testing.assert_allclose(decoded.timestamps_s, np.arange(10) / 12.5, atol=1e-4)
    assert np.abs(decoded.frames.astype(int) - frames).mean() < 3
    # a flat patch shows the colour itself, without the loss at edges: the matrix is written and read alike
    np.testing.assert_allclose(decoded.frames[0, 12:20, 4:12].mean(axis=(0, 1)), (220, 20, 20), atol=4)


@pytest.mark.parametrize("height, width", [(47, 63), (48, 63), (47, 64), (1, 1)])
def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path, height, width):
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    frame[:, -1] = frame[-1] = 200
    path = write_video(tmp_path / "a.mp4", [frame] * 3, fps=10, crf=4)
    info = probe_video(path)
    assert (info.height, info.width) == (height + height % 2, width + width % 2)
    decoded = decode_frames(path, indices=[0]).frames[0]
    assert np.abs(decoded[:height, :width].astype(int) - frame).mean() < 8
    assert decoded[-1, -1].mean() == pytest.approx(200, abs=12)


def test_the_same_frames_give_the_same_bytes(tmp_path):
    paths = [write_video(tmp_path / name, moving_square(), fps=10) for name in ("a.mp4", "b.mp4")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def broken_after(num_frames):
    yield from moving_square(num_frames)
    raise RuntimeError("the renderer failed")


FRAME = np.zeros((16, 16, 3), dtype=np.uint8)
BAD_FRAMES = {
    "none": ([], 10, "no frames to write"),
    "unequal sizes": ([FRAME, np.zeros((16, 18, 3), np.uint8)], 10, "frame 1 is .* the frames before it are"),
    "floats": ([FRAME.astype(np.float32)], 10, "frame 0 is float32"),
    "gray": ([FRAME[..., 0]], 10, "frame 0 is uint8"),
    "no pixels": ([FRAME[:0]], 10, "frame 0 is uint8"),
    "no rate": ([FRAME], 0, "fps must be above zero"),
}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux lists the threads of a process")
def test_encoding_starts_no_thread(tmp_path):
    """Users encode in the process that decodes, computes and serves, whose threads and forks no pool may meet."""

    def threads() -> set[str]:
        return {task.name for task in Path("/proc/self/task").iterdir()}

    def watched(frames):
        for frame in frames:
            seen.append(threads() - before)
            yield frame

    seen, before = [], threads()
    write_video(tmp_path / "a.mp4", watched(moving_square(40, height=256, width=320)), fps=25)
    assert len(seen) == 40
    assert not set().union(*seen)


@pytest.mark.parametrize("frames, fps, message", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_bad_frames_are_named_and_leave_nothing_behind(tmp_path, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "a.mp4", frames, fps=fps)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_file_that_was_there(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_square(4), fps=10)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="renderer"):
        write_video(path, broken_after(5), fps=10)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_encoder_that_refuses_is_named(tmp_path):
    with pytest.raises(VidreasonError, match=r"a\.mp4: could not be encoded as H\.264"):
        write_video(tmp_path / "a.mp4", moving_square(2), fps=10, preset="no such preset")
    assert list(tmp_path.iterdir()) == []


def test_an_animation_holds_every_frame_and_repeats(tmp_path):
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    path = write_animation(
        tmp_path / "new" / "moving.webp", [np.full((40, 60, 3), c, np.uint8) for c in colors], fps=5
    )
    with Image.open(path) as picture:
        assert (picture.format, picture.size, picture.n_frames, picture.info["loop"]) == ("WEBP", (60, 40), 3, 0)
        for index, color in enumerate(colors):
            picture.seek(index)
            np.testing.assert_allclose(np.asarray(picture.convert("RGB"))[20, 30], color, atol=8)
            assert picture.info["duration"] == 200


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [([], 5, "no frames"), ([np.zeros((4, 4, 3), np.uint8)], 0, "fps"), ([np.zeros((4, 4))], 5, "frame 0")],
)
def test_bad_animations_are_named(tmp_path, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_animation(tmp_path / "moving.webp", frames, fps)
    assert not list(tmp_path.iterdir())
