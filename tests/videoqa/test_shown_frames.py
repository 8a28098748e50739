"""Which frames are shown, and when: the same for a file, for frames with a rate and for a tensor with times (T21)."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from fixtures.tiny_video_models import FAMILIES, make_processor
from PIL import Image

from vidreason.errors import ConfigError, QuestionError, VideoError
from vidreason.video import decode_frames, uniform_indices
from vidreason.video.writer import write_video
from vidreason.videoqa.conversation import chat_messages, encode, load_answer_prompt
from vidreason.videoqa.frames import SAMPLINGS, FrameSampling, show_frames, show_video

ROW = {"question": "What falls?", "options": ["A cup.", "A bag."], "answer_format": "choice"}


def moving(num_frames, height=60, width=92, seed=0):
    """Frames of noise that is smooth enough for a codec, uint8 (frames, height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (num_frames, height // 4, width // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A file of 40 frames at 12.5 a second, and what is decoded of it."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, moving(40), fps=12.5)
    return path, decode_frames(path)


@pytest.mark.parametrize("part", [(None, None), (0.7, 2.3), (2.9, 99.0)])
def test_one_clip_however_it_comes(clip, part):
    """T21: pixels and times are the same; so is what five kinds of processor make of them, time text and all."""
    path, decoded = clip
    sampling = FrameSampling(8, 48)
    tensor = torch.from_numpy(decoded.frames).permute(0, 3, 1, 2)
    pictures = [Image.fromarray(frame) for frame in decoded.frames]
    ways = [
        show_video(path, sampling, *part),
        show_frames(pictures, sampling, 12.5, None, *part),
        show_frames(tensor, sampling, None, decoded.timestamps_s, *part),
    ]
    assert ways[0].frames.shape[0] == 8 and max(ways[0].frames.shape[1:3]) == 48
    for other in ways[1:]:
        assert np.array_equal(ways[0].frames, other.frames)
        assert ways[0].frame_indices == other.frame_indices
        assert ways[0].timestamps_s == pytest.approx(other.timestamps_s, abs=1e-6)
    prompt = load_answer_prompt()
    texts = [prompt.texts(ROW, shown, name_times=True) for shown in ways]
    assert texts[0] == texts[1] == texts[2] and f"{ways[0].timestamps_s[0]:.2f} s" in texts[0][1]
    for family in FAMILIES:
        processor = make_processor(family)
        batches = [encode(processor, [chat_messages(*text, True)], [w]) for text, w in zip(texts, ways, strict=True)]
        for name, values in batches[0].items():
            for other in batches[1:]:
                assert torch.equal(torch.as_tensor(values), torch.as_tensor(other[name])), (family, name)


def test_times_of_processors_are_those_of_the_frames(clip):
    """They count from the start of the video, also where a part of it is shown."""
    path, _ = clip
    shown = show_video(path, FrameSampling(4, 48), 1.6, 3.2)
    messages = [chat_messages("", "What?", True)]
    texts = {family: decoded_text(family, messages, shown) for family in FAMILIES}
    middles = [(a + b) / 2 for a, b in zip(shown.timestamps_s[::2], shown.timestamps_s[1::2], strict=True)]
    for middle in middles:  # pairs of frames
        assert f"<{middle:.1f} seconds>" in texts["qwen3_vl"]
    assert "four frames from a 0:00:03 [H:MM:SS] video" in texts["smolvlm"]
    assert texts["smolvlm"].count("Frame from 00:01:") == 1 and texts["smolvlm"].count("Frame from 00:02:") == 3
    seconds = encode(make_processor("qwen2_5_vl"), messages, [shown])["second_per_grid_ts"]
    assert float(seconds[0]) == pytest.approx(2 * 1.6 / 4)  # two frames are one position in time


def decoded_text(family, messages, shown):
    processor = make_processor(family)
    return processor.tokenizer.decode(encode(processor, messages, [shown])["input_ids"][0])


@pytest.mark.parametrize(
    ("num_frames", "rate"), [(240, 23.976), (8, 25.0), (9, 29.97), (3, 10.0), (1, 25.0), (97, 60)]
)
@pytest.mark.parametrize("samples", [1, 4, 8])
def test_uniform_at_a_constant_rate(num_frames, rate, samples):
    frames = np.zeros((num_frames, 16, 16, 3), dtype=np.uint8)
    shown = show_frames(frames, FrameSampling(samples, None), frames_per_second=rate)
    assert list(shown.frame_indices) == uniform_indices(num_frames, samples)
    assert len(shown) == samples and shown.timestamps_s == tuple(index / rate for index in shown.frame_indices)


def test_uniform_in_time_at_a_variable_rate(tmp_path):
    """Thirty frames in the first second and three in the next two: the times are spread, not the indices."""
    times_ms = [*range(0, 1000, 33), 1500, 2000, 2500]
    path = tmp_path / "variable.mkv"
    frames = moving(len(times_ms))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "bgr0"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms, picture in zip(times_ms, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    shown = show_video(path, FrameSampling(6, None))
    assert shown.duration_s == pytest.approx(3.0, abs=0.6)
    middles = (np.arange(6) + 0.5) * shown.duration_s / 6
    on_show = [max(time for time in times_ms if time / 1000 <= middle + 6e-4) / 1000 for middle in middles]
    assert shown.timestamps_s == pytest.approx(on_show)
    tensor = show_frames(
        frames, FrameSampling(6, None), timestamps_s=np.array(times_ms) / 1000, end_s=shown.duration_s
    )
    assert np.array_equal(tensor.frames, shown.frames) and tensor.timestamps_s == pytest.approx(shown.timestamps_s)


def test_short_and_empty_parts(tmp_path):
    still = tmp_path / "one.gif"
    Image.fromarray(moving(1)[0]).save(still)
    shown = show_video(still, SAMPLINGS["step"])
    assert len(shown) == 8 and set(shown.frame_indices) == {0} and set(shown.timestamps_s) == {0.0}
    frames = moving(10)
    inside = show_frames(frames, FrameSampling(4, None), 10, start_s=0.42, end_s=0.44)
    assert set(inside.frame_indices) == {4}, "a part between two frames shows the one that is on show"
    for start_s, end_s in ((1.0, 2.0), (0.5, 0.5), (0.6, 0.2), (7.0, None), (None, -1.0)):
        with pytest.raises(QuestionError, match="no frame is in the part"):
            show_frames(frames, FrameSampling(4, None), 10, start_s=start_s, end_s=end_s)
    assert show_frames(frames, FrameSampling(2, None), 10, None, float("nan"), float("nan")).frame_indices == (2, 7)


@pytest.mark.parametrize(
    ("frames", "times", "said"),
    [
        (np.zeros((4, 8, 8, 3), dtype=np.uint8), {}, "either a rate"),
        (np.zeros((4, 8, 8, 3), dtype=np.uint8), {"frames_per_second": 0}, "expected a number above 0"),
        (np.zeros((4, 8, 8, 3), dtype=np.uint8), {"timestamps_s": [0, 1, 1, 2]}, "later than the one before"),
        (np.zeros((4, 8, 8, 3), dtype=np.uint8), {"timestamps_s": [0, 1]}, "as many times"),
        (np.zeros((0, 8, 8, 3), dtype=np.uint8), {"frames_per_second": 5}, "expected uint8"),
        ([], {"frames_per_second": 5}, "expected uint8"),
        (np.zeros((4, 8, 8, 3)), {"frames_per_second": 5}, "expected uint8"),
        ([np.zeros((8, 8, 3), "uint8"), np.zeros((8, 9, 3), "uint8")], {"frames_per_second": 5}, "unequal sizes"),
    ],
)
def test_what_are_no_frames(frames, times, said):
    with pytest.raises(QuestionError, match=said):
        show_frames(frames, FrameSampling(2, None), **times)


def test_settings():
    assert SAMPLINGS["step"] == FrameSampling(8, 224) and SAMPLINGS["cotasks"].num_frames == 64
    for wrong in ({"num_frames": 0}, {"max_side_px": 4}):
        with pytest.raises(ConfigError):
            FrameSampling(**wrong)


def test_folder_of_pictures(tmp_path):
    """Frame N is decode index N - 1 (T26); a picture also stands for the missing frames that are nearest to it."""
    pictures = moving(4)
    for number, picture in zip((1, 2, 11, 21), pictures, strict=True):
        Image.fromarray(picture).save(tmp_path / f"{number:06d}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    shown = show_video(tmp_path, FrameSampling(21, None), frames_per_second=10.0)
    assert shown.duration_s == 2.1 and sorted(set(shown.frame_indices)) == [0, 1, 10, 20]
    assert shown.frame_indices == (0, *[1] * 4, *[10] * 10, *[20] * 6)
    assert np.array_equal(shown.frames[-1], pictures[3])
    with pytest.raises(QuestionError, match="frames_per_second is None"):
        show_video(tmp_path, FrameSampling(2))
    (tmp_path / "11.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(VideoError, match="one number"):
        show_video(tmp_path, FrameSampling(2), frames_per_second=10.0)
    (tmp_path / "000011.png").unlink()
    with pytest.raises(VideoError, match=r"11\.png: decode failed"):
        show_video(tmp_path, FrameSampling(8), frames_per_second=10.0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(VideoError, match="no frames"):
        show_video(empty, FrameSampling(2), frames_per_second=10.0)
    with pytest.raises(VideoError, match="missing"):
        show_video(tmp_path / "absent.mp4", FrameSampling(2))


def test_real_key_frames(shared_data):
    folder = shared_data / "videoqa" / "star" / "frames" / "0TXYV"
    if not folder.is_dir():
        pytest.skip("the frames of the STAR teaser are not there")
    shown = show_video(folder, SAMPLINGS["step"], 14.4, 19.2, frames_per_second=29.452)
    assert shown.frames.shape == (8, 126, 224, 3)
    assert all(14.0 < time_s < 19.3 for time_s in shown.timestamps_s)
    assert shown.timestamps_s == tuple(index / 29.452 for index in shown.frame_indices)
