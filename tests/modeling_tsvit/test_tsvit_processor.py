"""The video processor: sampling, geometry, and files as they are found in the wild, read by PyAV alone."""

import http.server
import struct
import threading
import wave

import numpy as np
import pytest
import torch

from modeling_tsvit import TSViTVideoProcessor
from vidreason.video import decode_frames, uniform_indices


def processor(**values) -> TSViTVideoProcessor:
    return TSViTVideoProcessor(**{"size": {"height": 32, "width": 32}, "num_frames": 6, **values})


def frame_numbers(clip: torch.Tensor) -> list[int]:
    """What `write_clip` wrote into the brightness of each frame of (frames, 3, height, width)."""
    height, width = clip.shape[-2:]
    middle = clip[:, :, height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4].float()
    return ((middle.mean(dim=(1, 2, 3)) - 20) / 10).round().int().tolist()


def fetch(path, count=None) -> tuple[torch.Tensor, dict]:
    sampler = processor(num_frames=count).sample_frames if count else None
    return processor().fetch_videos(str(path), sampler)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 8, 16])
def test_frames_are_sampled_as_by_the_library(num_samples):
    for total in (*range(1, 40), 251, 1000):
        sampled = processor(num_frames=num_samples).sample_frames(Metadata(total))
        assert sampled == uniform_indices(total, num_samples)


class Metadata:
    def __init__(self, total_num_frames, fps=None):
        self.total_num_frames = total_num_frames
        self.fps = fps


@pytest.mark.parametrize(
    ("total", "own_fps", "fps", "indices"), [(100, 25, 1, [12, 37, 62, 87]), (10, 25, 1, [5]), (50, 25, 2.0, None)]
)
def test_frames_by_rate(total, own_fps, fps, indices):
    sampled = processor().sample_frames(Metadata(total, own_fps), fps=fps)
    assert sampled == (indices or uniform_indices(total, int(total / own_fps * fps)))


@pytest.mark.parametrize(("metadata", "values"), [(Metadata(9, 25), {"num_frames": 3}), (Metadata(9), {})])
def test_rates_that_cannot_be_sampled(metadata, values):
    with pytest.raises(ValueError, match=r"fps|frame rate"):
        processor().sample_frames(metadata, fps=5, **values)


@pytest.mark.parametrize("name", ["clip.avi", "clip.mp4", "clip.mkv"])
@pytest.mark.parametrize(
    ("num_frames", "expected"), [(12, [1, 3, 5, 7, 9, 11]), (4, [0, 1, 1, 2, 3, 3]), (1, [0] * 6)]
)
def test_sampled_frames_of_a_file(write_clip, name, num_frames, expected):
    clip, metadata = fetch(write_clip(name, num_frames=num_frames), 6)
    assert frame_numbers(clip) == expected
    assert metadata.total_num_frames == num_frames
    assert metadata.frames_indices == expected
    assert (metadata.height, metadata.width) == (48, 64)
    assert clip.dtype == torch.uint8


def test_all_frames_where_none_are_sampled(write_clip):
    clip, _ = fetch(write_clip("clip.mp4"))
    assert frame_numbers(clip) == list(range(12))


def test_frame_rate_of_a_call_replaces_the_number_of_frames(write_clip):
    path = str(write_clip("clip.mp4", num_frames=20))
    assert processor()(path, fps=5, return_tensors="pt")["pixel_values"].shape == (1, 4, 3, 32, 32)


def test_variable_frame_rate_counts_frames_not_time(write_clip):
    path = write_clip("clip.mkv", num_frames=8, times=[0, 1, 2, 3, 40, 80, 81, 82])
    clip, metadata = fetch(path, 4)
    assert frame_numbers(clip) == [1, 3, 5, 7]
    assert metadata.total_num_frames == 8


@pytest.mark.parametrize("stated", [0, 3, 500])
def test_a_wrong_frame_count_in_the_header_is_not_believed(write_clip, stated):
    path = write_clip("clip.avi")
    data = bytearray(path.read_bytes())
    stream_header = data.index(b"strh") + 8
    struct.pack_into("<I", data, stream_header + 32, stated)
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, stated)
    path.write_bytes(data)
    clip, metadata = fetch(path, 6)
    assert metadata.total_num_frames == 12
    assert frame_numbers(clip) == [1, 3, 5, 7, 9, 11]


# Display matrix (a, b, c, d) and where the dark corner, stored at the top left, is then shown.
MATRICES = {
    "upright": ((1, 0, 0, 1), "top left"),
    "clockwise": ((0, 1, -1, 0), "top right"),
    "half turn": ((-1, 0, 0, -1), "bottom right"),
    "counterclockwise": ((0, -1, 1, 0), "bottom left"),
    "mirrored": ((-1, 0, 0, 1), "top right"),
    "transposed": ((0, 1, 1, 0), "top left"),
}


@pytest.mark.parametrize(("matrix", "corner"), MATRICES.values(), ids=MATRICES)
def test_pictures_are_shown_upright(write_clip, matrix, corner):
    path = write_clip("phone.mp4", num_frames=8)
    data = bytearray(path.read_bytes())
    first = data.index(b"tkhd") + 4 + 40  # past version, times, track, layer and volume of a version 0 box
    a, b, c, d = (65536 * value for value in matrix)
    struct.pack_into(">9i", data, first, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    clip, metadata = fetch(path, 2)
    turned = matrix[0] == 0
    assert clip.shape[-2:] == ((64, 48) if turned else (48, 64))
    assert (metadata.height, metadata.width) == clip.shape[-2:]
    picture = clip[-1].float().mean(dim=0)
    corners = {
        "top left": picture[:8, :8],
        "top right": picture[:8, -8:],
        "bottom left": picture[-8:, :8],
        "bottom right": picture[-8:, -8:],
    }
    darkest = min(corners, key=lambda name: corners[name].mean().item())
    assert darkest == corner
    reference = torch.from_numpy(decode_frames(path, indices=metadata.frames_indices).frames).permute(0, 3, 1, 2)
    assert (clip.int() - reference.int()).abs().max() <= 2


def test_damaged_packets_are_passed_over(write_clip):
    path = write_clip("clip.avi", num_frames=20)
    data = bytearray(path.read_bytes())
    packets = [
        place for place in range(len(data)) if data[place : place + 4] == b"00dc" and place < data.index(b"idx1")
    ]
    start = packets[14] + 8
    data[start : start + 24] = b"\xff" * 24
    path.write_bytes(data)
    clip, metadata = fetch(path, 4)
    assert clip.shape == (4, 3, 48, 64)
    assert metadata.total_num_frames in (19, 20)


def test_a_file_that_ends_too_early_gives_what_it_holds(write_clip):
    path = write_clip("clip.mkv", num_frames=20)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.7)])
    clip, metadata = fetch(path, 2)
    assert 0 < metadata.total_num_frames < 20
    assert frame_numbers(clip) == uniform_indices(metadata.total_num_frames, 2)


def broken_files(tmp_path, write_clip) -> dict:
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n" * 50)
    headless = write_clip("headless.mp4")
    headless.write_bytes(headless.read_bytes()[:200])
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(np.zeros(8000, dtype=np.int16).tobytes())
    return {"empty": empty, "text": text, "headless": headless, "sound only": sound, "missing": tmp_path / "none.avi"}


@pytest.mark.parametrize("kind", ["empty", "text", "headless", "sound only", "missing"])
def test_unreadable_files_are_named_with_the_reason(tmp_path, write_clip, kind):
    path = broken_files(tmp_path, write_clip)[kind]
    reasons = {"empty": "empty", "sound only": "no video stream", "missing": "no such file"}
    with pytest.raises(ValueError, match=reasons.get(kind, "cannot be decoded")) as error:
        processor()(str(path), return_tensors="pt")
    assert str(path) in str(error.value)


def test_frames_that_do_not_exist_are_named(write_clip):
    path = write_clip("clip.mp4")
    with pytest.raises(ValueError, match=r"frames \[12\].*12 frames"):
        processor().fetch_videos(str(path), lambda metadata: [0, 12])


def test_videos_over_http(write_clip, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    path = write_clip("clip.mp4")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(path.parent))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        clip, _ = fetch(f"{address}/clip.mp4", 6)
        with pytest.raises(ValueError, match=r"none\.mp4: cannot be decoded"):
            fetch(f"{address}/none.mp4", 6)
        server.shutdown()
    assert frame_numbers(clip) == [1, 3, 5, 7, 9, 11]


def test_several_files_make_a_batch(write_clip):
    paths = [str(write_clip("long.mp4", num_frames=20)), str(write_clip("short.avi", num_frames=3, size=(32, 32)))]
    batch = processor()(paths, return_tensors="pt")
    assert set(batch.keys()) == {"pixel_values"}
    assert batch["pixel_values"].shape == (2, 6, 3, 32, 32)


def test_the_whole_frame_is_kept(write_clip):
    """A cell of the full frame stays the cell of the same row and column: nothing is cut off the sides."""
    frames = torch.zeros(6, 3, 48, 96, dtype=torch.uint8)
    frames[:, :, 36:, 72:] = 255  # row 3, column 3 of 4x4
    frames[:, :, :12, :24] = 255  # row 0, column 0
    pixels = processor()(frames, return_tensors="pt")["pixel_values"][0, 0, 0]
    cells = pixels.view(4, 8, 4, 8).mean(dim=(1, 3))
    bright = {tuple(place) for place in (cells > 0.5).nonzero().tolist()}
    assert bright == {(0, 0), (3, 3)}
    assert pixels.max() == pytest.approx(1.0, abs=0.02) and pixels.min() == pytest.approx(-1.0, abs=0.02)


def test_centre_crop_on_request():
    frames = torch.zeros(6, 3, 40, 80, dtype=torch.uint8)
    frames[..., 20:60] = 255
    cropping = processor(size={"shortest_edge": 40}, do_center_crop=True, crop_size={"height": 40, "width": 40})
    pixels = cropping(frames, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 6, 3, 40, 40)
    assert pixels.min() > 0.99


@pytest.mark.parametrize("size", [32, {"height": 24, "width": 40}])
def test_sizes(size):
    pixels = processor(size=size)(torch.zeros(6, 3, 20, 20, dtype=torch.uint8), return_tensors="pt")["pixel_values"]
    expected = (32, 32) if size == 32 else (24, 40)
    assert pixels.shape == (1, 6, 3, *expected)


@pytest.mark.parametrize("as_array", [False, True])
def test_arrays_and_tensors_are_sampled_too(as_array):
    frames = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 3, 40, 50) * 20
    clip = frames.permute(0, 2, 3, 1).numpy() if as_array else frames
    pixels = processor()(clip, return_tensors="pt")["pixel_values"]
    levels = ((pixels[0].mean(dim=(1, 2, 3)) + 1) / 2 * 255 / 20).round().int().tolist()
    assert levels == [1, 3, 5, 7, 9, 11]


def test_sampling_can_be_switched_off():
    pixels = processor()(torch.zeros(9, 3, 32, 32), do_sample_frames=False, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 9, 3, 32, 32)


def test_grey_frames_become_rgb():
    pixels = processor()(np.zeros((6, 32, 32, 1), dtype=np.uint8), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 6, 3, 32, 32)


def test_real_clips_match_the_library(shared_data):
    paths = [
        *sorted((shared_data / "clips").rglob("*.avi")),
        *sorted((shared_data / "clips").rglob("*.mp4"))[:2],
        *sorted((shared_data / "gmdcsa24").rglob("*.mp4"))[:2],
    ]
    assert len(paths) >= 7
    for path in paths:
        clip, metadata = fetch(path, 4)
        reference = decode_frames(path, indices=metadata.frames_indices)
        expected = torch.from_numpy(reference.frames).permute(0, 3, 1, 2)
        assert clip.shape == expected.shape, path
        assert (clip.int() - expected.int()).abs().float().mean() < 1.0, path
