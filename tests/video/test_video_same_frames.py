"""The library, the video processor and the labeller see the same frames at the same times, of odd files too."""

import logging
import struct

import av
import numpy as np
import pytest

import modeling_tsvit.video_processing_tsvit as of_the_processor
from modeling_tsvit import TSViTVideoProcessor
from vidreason.video import decode as of_the_library
from vidreason.video import decode_frames, frame_table, probe_video
from vidreason.video.decode import forget_frame_tables, nearest_places, open_video, read_frame_table
from vidreason.video.streaming import FrameStream


def pictures(path):
    """All pictures of a file in the order in which the decoder gives them, (frames, height, width, 3)."""
    frames = []
    with av.open(str(path), metadata_errors="ignore") as container:
        container.streams.video[0].codec_context.thread_count = 1
        for packet in container.demux(video=0):
            try:
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.error.FFmpegError:
                continue
    return np.stack(frames)


def read_every_way(path, num_samples=8):
    """All frames by the library, after checking that sampling, labelling and the video processor see the same."""
    forget_frame_tables()
    processor = TSViTVideoProcessor(num_frames=num_samples)
    clip, metadata = processor.fetch_videos(str(path), processor.sample_frames)
    sampled = decode_frames(path, indices=metadata.frames_indices, stand_ins=True)
    np.testing.assert_array_equal(clip.permute(0, 2, 3, 1).numpy(), sampled.frames)
    table, whole = read_frame_table(path), decode_frames(path, stand_ins=True)
    assert metadata.total_num_frames == len(table) == len(whole) == probe_video(path).num_frames
    assert (metadata.fps, metadata.duration) == pytest.approx((table.fps, table.duration_s))
    np.testing.assert_array_equal(sampled.frames, whole.frames[metadata.frames_indices])
    for fps in (table.fps, 0.3 * table.fps):  # a rate at which frames are left out, too
        forget_frame_tables()
        stream = FrameStream(path, fps)
        passed = list(stream)
        by_time = nearest_places(table.times_s, np.asarray(stream.timestamps_s)).tolist()
        np.testing.assert_array_equal(np.stack([frame.frame for frame in passed]), whole.frames[by_time])
        assert stream.num_replaced == sum(index in whole.stand_ins for index in by_time)
    return whole


def test_the_two_have_the_same_rules():
    for name in ("FORMATS", "FORMATS_WITHOUT_TIMES", "PLAYLIST_STARTS", "PLAYLIST_TAGS", "PROGRESSIVE", "UNFORESEEN"):
        assert getattr(of_the_processor, name) == getattr(of_the_library, f"_{name}"), name
    assert of_the_processor.CODECS_OF_WHOLE_PICTURES == frame_table.CODECS_OF_WHOLE_PICTURES
    for name in ("CODECS_WITH_FIELDS", "SMALLEST_MPEG4_PICTURE_BYTES", "MAX_SHARE_OF_STATED_FPS"):
        assert getattr(of_the_processor, name) == getattr(frame_table, f"_{name}"), name


# frames, clock, whether the decoder had to be asked, frames a second
FAULTS = {
    "packed_bframes.avi": (15, "counted", True, 30000 / 1001),
    "water_180_mvhevc_5frames.mov": (5, "stream", False, 90),
    "paff_1080i.ts": (7, "stream", True, 18.75),  # at 25 a second, and two are missing where the file is cut
    "pcitva15.avi": (152, "stream", True, 500000 / 99561),
    "realshort.mp4": (36, "stream", False, 45000 / 1499),
    "video_0.mov": (3, "stream", False, 30),
}


@pytest.mark.parametrize("name", FAULTS)
def test_frames_are_the_decoders_pictures_in_its_order(shared_data, name):
    path = shared_data / "faults" / name
    num_frames, clock, decoded, fps = FAULTS[name]
    whole, table = read_every_way(path), read_frame_table(path)
    np.testing.assert_array_equal(whole.frames, pictures(path))
    assert (len(whole), whole.clock, table.decoded, whole.stand_ins) == (num_frames, clock, decoded, {})
    assert table.fps == pytest.approx(fps, rel=1e-3)
    assert (np.diff(whole.timestamps_s) > 0).all()
    if name.startswith("paff"):
        np.testing.assert_allclose(np.array(whole.timestamps_s) * 25, [0, 1, 2, 3, 4, 6, 8])


def test_a_neighbour_stands_in_for_a_bad_frame_and_is_said_to(shared_data, caplog):
    path = shared_data / "faults" / "corrupted.mp4"
    whole = read_every_way(path, num_samples=25)  # frame 30 among them
    assert (len(whole), whole.stand_ins) == (50, {30: 31})
    decoded = pictures(path)
    np.testing.assert_array_equal(whole.frames, decoded[[*range(30), 30, *range(30, 49)]])
    for said in ("1 sampled frames do not decode; others stand in (31 for 30)", "1 of 50 frames do not decode"):
        assert said in caplog.text + read_warning(path), said


def read_warning(path):
    """What the processor warns of; transformers' log does not reach pytest's."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    of_the_processor.logger.addHandler(handler)
    try:
        TSViTVideoProcessor().fetch_videos(str(path), lambda metadata: [30])
    finally:
        of_the_processor.logger.removeHandler(handler)
    return "\n".join(records)


def remuxed(source, target):
    """The packets of a video in another container, with the times that FFmpeg gives them."""
    with open_video(source) as video, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(video.stream)
        for packet in video.container.demux(video.stream):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_made_up_times_are_no_better_in_another_container(shared_data, tmp_path, suffix):
    path = remuxed(shared_data / "faults" / "packed_bframes.avi", tmp_path / f"a{suffix}")
    whole = read_every_way(path)
    np.testing.assert_array_equal(whole.frames, pictures(path))
    assert (len(whole), whole.clock) == (15, "counted")


def test_a_packet_that_changes_nothing_is_no_frame(odd_videos, tmp_path):
    path = odd_videos.encode(tmp_path / "a.avi", num_frames=12, codec="mpeg4", options={"g": "12", "bf": "0"})
    with open_video(path) as video:
        packets = [bytes(packet) for packet in video.container.demux(video.stream) if packet.size]
    header = bytearray(packets[5][:7])
    (bits,) = struct.unpack_from(">H", header, 4)
    assert bits >> 14 == 1  # a frame that is predicted
    # 2 bits for that, modulo time base (a 0), a marker, 5 bits of time at 25 frames a second, a marker, vop_coded
    struct.pack_into(">H", header, 4, bits & ~(1 << 5))
    packets[5] = bytes(header)
    target = tmp_path / "b.avi"
    with open_video(path) as video, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(video.stream)
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, video.stream.time_base
            packet.pts = packet.dts = number
            packet.is_keyframe = number == 0
            output.mux(packet)
    whole = read_every_way(target)
    np.testing.assert_array_equal(whole.frames, pictures(target))
    assert [round(25 * time_s) for time_s in whole.timestamps_s] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_spatial_video_is_turned_upright(odd_videos, shared_data, tmp_path, matrix, turns):
    """PyAV gives no side data of its frames, the display matrix included, because it cannot name some of it."""
    source = shared_data / "faults" / "water_180_mvhevc_5frames.mov"
    path = tmp_path / "a.mov"
    path.write_bytes(source.read_bytes())
    odd_videos.set_display_matrix(path, *matrix)
    whole = read_every_way(path)
    np.testing.assert_array_equal(whole.frames, np.rot90(decode_frames(source).frames, turns, axes=(1, 2)))
    assert probe_video(path).rotation_deg == 360 - 90 * turns


ODD = {
    "mp4": {"name": "a.mp4", "options": {"bf": "3", "g": "10"}},
    "interlaced": {"name": "a.ts", "options": {"x264-params": "interlaced=1"}},
    "mpeg-4 with B-frames": {"name": "a.avi", "codec": "mpeg4", "options": {"bf": "2"}},
    "raw stream": {"name": "a.h264", "container_format": "h264"},
    "gif": {"name": "a.gif", "codec": "gif", "pixel_format": "rgb8"},
    "variable rate": {"name": "a.mkv", "pts": [0, 100, 150, 400, 420, 900, 1000, 1300, 1310, 1400, 1500, 1600]},
    "mpeg-2": {"name": "a.mpg", "codec": "mpeg2video", "options": {"bf": "2"}},
    "vp8": {"name": "a.webm", "codec": "libvpx"},
    "one frame": {"name": "a.mp4", "num_frames": 1},
}


@pytest.mark.parametrize("case", ODD.values(), ids=ODD.keys())
def test_odd_files_are_the_same_to_all(odd_videos, tmp_path, case):
    case = dict(case)
    path = odd_videos.encode(tmp_path / case.pop("name"), **{"num_frames": 12, **case})
    whole = read_every_way(path)
    np.testing.assert_array_equal(whole.frames, pictures(path))


@pytest.mark.parametrize("damaged", [[15], [16, 17], [39], [38, 39]])
def test_damage_is_the_same_to_all(odd_videos, tmp_path, damaged):
    """In the middle, and at the end, where nothing comes after."""
    path = odd_videos.encode(tmp_path / "a.mp4", num_frames=40, options={"bf": "2", "g": "10"})
    for number in damaged:
        odd_videos.blank_packet(path, number)
    whole = read_every_way(path, num_samples=20)
    assert len(whole) == 40 and len(whole.stand_ins) >= len(damaged)
