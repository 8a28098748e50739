"""Requests from file to result: guidance, caches, videos, settings."""

import threading
import time

import numpy as np
import pytest
from clipview import service as service_module
from clipview.cache import Cache
from clipview.examples import build_examples
from clipview.guidance import LLM, MOTION, PUBLISHED, KnownClips, load_tables, motion_guidance, rows_guidance
from clipview.limits import Deadline, Refused
from clipview.service import MOTION_ONLY, Ask
from clipview.settings import Limits, SpaceSettings
from clipview.strip import make_strip
from fixtures.space_clips import moving_square, write_clip, write_small

from vidreason.annotation import MotionAnnotator
from vidreason.errors import ConfigError
from vidreason.guidance import guidance_row, load_guidance, write_guidance
from vidreason.video import decode_frames, probe_video

PATIENT = Deadline(float("inf"))  # it is made when tests are collected, minutes before some of them run


def row(video_id, number, cell, **changes):
    weights = [0.0] * 16
    weights[cell] = 1.0
    key = {"video_id": video_id, "source": "here@1", "split": "train", "frame_index": number}
    key |= {"timestamp_s": number / 12, "frame_height": 96, "frame_width": 128}
    return guidance_row(key | changes, weights, (4, 4), producer="truth")


@pytest.fixture
def table(tmp_path):
    """Guidance of the square clip, whose last frames have none, and of a clip of another size with the same name."""
    rows = [row("train/square", number, 8 + number // 6) for number in range(18)]
    rows += [row("other/square", number, 0, frame_height=480) for number in range(3)]
    write_guidance(tmp_path / "table", {"train": rows})
    return {"table": load_guidance(tmp_path / "table")}


# guidance


def test_a_clip_that_a_table_knows_has_its_guidance(table, square):
    guidance = KnownClips(table).guidance("square.mp4", square)
    assert (guidance.kind, guidance.source) == (PUBLISHED, "the published table table")
    found = [None if m is None else int(m.weights.argmax()) for m in guidance.maps]
    # rows speak for a quarter of a second around them: three frames at 12 a second
    assert found == [8] * 6 + [9] * 6 + [10] * 6 + [10] * 3 + [None] * 3


@pytest.mark.parametrize("name", ["circle.mp4", "square_2.mp4", "train.mp4"])
def test_other_names_are_not_known(table, square, name):
    assert KnownClips(table).guidance(name, square) is None


def test_a_known_name_with_other_frames_or_length_is_not_known(table, square, tmp_path):
    known = KnownClips(table)
    assert known.find("square.webm", square.facts).video_id == "train/square"
    assert known.find("square.mp4", type(square.facts)(120, 96, 24, 2.0, 12.0, 0)) is None
    assert known.find("square.mp4", type(square.facts)(128, 96, 12, 1.0, 12.0, 0)) is None
    twice = {**table, "again": table["table"]}
    assert KnownClips(twice).find("square.mp4", square.facts) is None  # which of the two would be a guess


def test_movement_is_where_the_annotator_finds_it(square, square_path):
    guidance = motion_guidance(square, 12.0, PATIENT)
    key = {"video_id": "a", "source": "b", "split": "c"}
    expected = [entry["weights"] for entry in MotionAnnotator().annotate_video(square_path, key)]
    assert guidance.kind == MOTION and guidance.guided == 24
    found = np.stack([m.weights for m in guidance.maps])
    np.testing.assert_allclose(found, expected, atol=0.08)  # pictures are scaled by another filter
    strongest = found.argmax(axis=1)
    assert set(strongest) == {8, 9, 10, 11} and strongest[0] == 8 and strongest[-1] == 11


def test_movement_is_measured_in_some_pictures_and_lent_to_those_between(square):
    maps = motion_guidance(square, 4.0, PATIENT).maps
    assert len(maps) == 24 and len({id(m) for m in maps}) == 8
    assert maps[0] is maps[1] is maps[2] and maps[3] is not maps[2]


def test_rows_of_a_language_model_go_to_the_nearest_picture(square):
    rows = [row("x", 3, 2), row("x", 20, 7)]
    rows[1] = {**rows[1], "status": "refused", "weights": [0.0] * 16}
    guidance = rows_guidance("a model", rows, square.shown_times_s)
    assert guidance.kind == LLM and [m is not None for m in guidance.maps] == [True] * 12 + [False] * 12


def test_tables_have_one_name_each(tmp_path, table):
    assert list(load_tables([str(tmp_path / "table")])) == ["table"]
    with pytest.raises(ConfigError, match="two guidance tables"):
        load_tables([str(tmp_path / "table"), str(tmp_path / "table") + "/"])


# cache


def test_a_value_is_made_once_and_the_least_used_goes_first():
    removed, made = [], []
    cache = Cache(max_total=2, max_age_s=60, on_removed=removed.append)
    for key in "abab":
        assert cache.get_or_make(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b"] and len(cache) == 2
    cache.get_or_make("a", lambda: pytest.fail("it is there"))
    cache.get_or_make("c", lambda: "C")
    assert removed == ["B"]
    cache.clear()
    assert removed == ["B", "A", "C"] and len(cache) == 0


def test_sizes_count_and_the_newest_stays():
    cache = Cache(max_total=10, max_age_s=60, size_of=len)
    for value in ("aaaa", "bbbb", "cccc"):
        cache.get_or_make(value, lambda value=value: value)
    assert len(cache) == 2
    cache.get_or_make("large", lambda: "x" * 50)
    assert len(cache) == 1 and cache.get_or_make("large", lambda: pytest.fail("it is there"))


def test_what_is_old_goes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    removed = []
    cache = Cache(max_total=10, max_age_s=60, on_removed=removed.append)
    cache.get_or_make("a", lambda: "A")
    now[0] += 61
    cache.sweep()
    assert removed == ["A"]


def test_threads_that_want_the_same_wait_for_one_of_them():
    made, found = [], []
    cache = Cache(max_total=2, max_age_s=60)

    def make():
        time.sleep(0.1)
        made.append(1)
        return object()

    threads = [threading.Thread(target=lambda: found.append(cache.get_or_make("a", make))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(set(map(id, found))) == 1


def test_a_failure_is_not_kept():
    cache = Cache(max_total=2, max_age_s=60)
    with pytest.raises(Refused):
        cache.get_or_make("a", lambda: (_ for _ in ()).throw(Refused("x", "y")))
    assert cache.get_or_make("a", lambda: 1) == 1 and not cache._making


# requests


def test_a_request_of_two_checkpoints(make_service, square_path, table):
    told = []
    service = make_service(table)
    shown = service.show(Ask(str(square_path), ("without", "with")), lambda share, text: told.append(share))
    assert told == sorted(told) and told[-1] == 1.0
    assert [answer.name for answer in shown.answers] == ["without", "with"]
    assert shown.guidance.kind == PUBLISHED
    for path in (shown.guidance_video, *(answer.video for answer in shown.answers)):
        info = probe_video(path)
        assert (info.codec, info.width, info.height, info.num_frames) == ("h264", 128, 96, 24)
    assert shown.answers[0].summary.guided == 21
    assert set(shown.seconds) == {"read", "model", "guidance", "draw_and_write", "total"}


def test_the_second_request_comes_from_the_cache(make_service, square_path, monkeypatch):
    service = make_service()
    first = service.show(Ask(str(square_path), ("with",)))
    monkeypatch.setattr(service.reader, "read", lambda *_: pytest.fail("it was read before"))
    monkeypatch.setattr(service_module, "analyse", lambda *_: pytest.fail("it was analysed before"))
    monkeypatch.setattr(service_module, "motion_guidance", lambda *_: pytest.fail("it was guided before"))
    monkeypatch.setattr(service_module, "write_attention", lambda *_: pytest.fail("it was written before"))
    second = service.show(Ask(str(square_path), ("with",)))
    assert second.answers[0].video == first.answers[0].video and second.guidance_video == first.guidance_video


def test_another_strength_is_another_video_of_the_same_analysis(make_service, square_path, monkeypatch):
    service = make_service()
    weak = service.show(Ask(str(square_path), ("with",), strength=0.1))
    monkeypatch.setattr(service_module, "analyse", lambda *_: pytest.fail("it was analysed before"))
    strong = service.show(Ask(str(square_path), ("with",), strength=1.0))
    assert weak.answers[0].video != strong.answers[0].video
    bare = decode_frames(square_path).frames.astype(int)
    changes = [np.abs(decode_frames(shown.answers[0].video).frames - bare).mean() for shown in (weak, strong)]
    assert changes[1] > 3 * changes[0] > 0


def test_a_visitors_own_guidance_is_in_no_cache(make_service, square_path):
    service = make_service()
    digest = service.read(str(square_path), PATIENT)[0]
    rows = [row("x", 3, 2) | {"model": "some-model"}]
    own = service.show(Ask(str(square_path), ("with",), llm_rows=rows, llm_digest=digest))
    assert own.guidance.kind == LLM and own.guidance.source == "the language model some-model"
    other = service.show(Ask(str(square_path), ("with",)))
    assert other.guidance.kind == MOTION and other.guidance_video != own.guidance_video
    stale = service.show(Ask(str(square_path), ("with",), llm_rows=rows, llm_digest="of another clip"))
    assert stale.guidance.kind == MOTION


def test_published_guidance_can_be_passed_over(make_service, square_path, table):
    shown = make_service(table).show(Ask(str(square_path), ("with",), guidance=MOTION_ONLY))
    assert shown.guidance.kind == MOTION


@pytest.mark.parametrize("names", [(), ("nobody",), ("with", "without", "nobody")])
def test_only_checkpoints_that_there_are(make_service, square_path, names):
    with pytest.raises(Refused, match="one or two of the checkpoints"):
        make_service().show(Ask(str(square_path), names))


def test_a_request_that_takes_too_long_is_refused(make_service, square_path):
    with pytest.raises(Refused, match="too long"):
        make_service(limits=Limits(request_timeout_s=0.0)).show(Ask(str(square_path), ("with",)))


def test_videos_are_deleted_with_the_cache_and_at_the_end(make_service, square_path):
    service = make_service()
    shown = service.show(Ask(str(square_path), ("with",)))
    drawn = service.scratch.drawn
    assert len(list(drawn.iterdir())) == 2
    service._videos.clear()
    assert not list(drawn.iterdir()) and not shown.guidance_video.exists()
    service.show(Ask(str(square_path), ("with",)))
    service.close()
    assert not service.scratch.folder.exists()
    with pytest.raises(Refused):  # what is asked for while it closes is not begun
        service.show(Ask(str(square_path), ("with",)))
    assert not service.scratch.folder.exists()


def test_json_has_everything_and_no_path(make_service, square_path):
    service = make_service()
    result = service.show(Ask(str(square_path), ("with",))).as_json()
    (answer,) = result["checkpoints"]
    assert sum(answer["labels"].values()) == pytest.approx(1, abs=1e-4)
    assert [len(weights) for weights in answer["attention"]] == [16] * 24
    assert [len(weights) for weights in result["guidance"]["weights"]] == [16] * 24
    assert answer["agreement"]["mean"]["guided"] == 24 and len(answer["agreement"]["hit"]) == 24
    assert result["times_s"][:2] == [0.0, 0.0833] and result["video"]["num_frames"] == 24
    assert set(answer["views"]) == {"immediate", "contextual", "narrative"}
    assert str(square_path.parent) not in repr(result) and str(service.scratch.folder) not in repr(result)


def test_single_frames_for_a_language_model(make_service, square_path):
    service = make_service()
    digest, pictures, keys = service.single_frames(str(square_path), 3)
    assert [key["timestamp_s"] for key in keys] == pytest.approx([4 / 12, 1.0, 20 / 12])
    assert len(pictures) == 3 and pictures[0].shape == (96, 128, 3) and len(digest) == 64
    assert (keys[0]["frame_height"], keys[0]["frame_width"]) == (96, 128)


def test_a_single_frame_is_shown(make_service, tmp_path):
    path = write_clip(tmp_path / "one.mp4", moving_square(1))
    shown = make_service().show(Ask(str(path), ("with",)))
    assert len(shown.clip.shown) == 1 and shown.answers[0].summary.guided == 0  # nothing moves


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (1, 64), (64, 1), (2, 1920), (1920, 2)])
def test_clips_of_a_few_pixels_are_answered(make_service, tmp_path, size):
    path = write_small(tmp_path / "small.mov", size)
    shown = make_service().show(Ask(str(path), ("with",)))
    assert (shown.clip.facts.height, shown.clip.facts.width) == size and len(shown.guidance.maps) == 12
    assert np.isfinite([m.weights for m in shown.guidance.maps if m is not None]).all()
    assert len(decode_frames(shown.answers[0].video)) == len(decode_frames(shown.guidance_video)) == 12
    answers = [("with", shown.answers[0].analysis, shown.answers[0].frames)]
    pictures = [picture for picture, _ in make_strip(shown.clip, answers, shown.guidance.maps)]
    assert len(pictures) == 8 and max(picture.size for picture in pictures) < 3 * 220 * 1620


def test_a_time_that_a_request_has_left_is_that_of_its_reading(make_service, square_path, monkeypatch):
    service, given = make_service(limits=Limits(request_timeout_s=50.0)), []
    read = service.reader.read
    monkeypatch.setattr(service.reader, "read", lambda *args: given.append(args[3]) or read(*args))
    service.read(str(square_path), Deadline(7.0))
    assert 0 < given[0] <= 7.0


# settings and examples


def test_settings_come_from_the_environment(tmp_path):
    environment = {"MODEL_IDS": " a , b,a", "REMOTE_CODE_IDS": "b", "GUIDANCE_IDS": "t", "OFFER_LLM": "0"}
    settings = SpaceSettings.from_environment(environment | {"EXAMPLES_FOLDER": str(tmp_path)})
    assert settings.model_ids == ("a", "b") and settings.remote_code_ids == ("b",)
    assert settings.guidance_ids == ("t",) and not settings.offer_llm and settings.examples_folder == tmp_path
    assert settings.clips_kept_s == 900 and settings.sweep_every_s == 60 and settings.project_url is None
    for name, value in (("CLIPS_KEPT_S", "soon"), ("CLIPS_KEPT_S", "0"), ("PROJECT_URL", "javascript:alert(1)")):
        with pytest.raises(ConfigError, match=name):
            SpaceSettings.from_environment(environment | {name: value})
    with pytest.raises(ConfigError, match="MODEL_IDS"):
        SpaceSettings.from_environment({})
    with pytest.raises(ConfigError, match=r"REMOTE_CODE_IDS names \['c'\]"):
        SpaceSettings.from_environment({"MODEL_IDS": "a", "REMOTE_CODE_IDS": "c"})


def test_examples_are_rendered_once_and_known_with_their_truth(tmp_path, limits):
    from clipview.reading import read_clip
    from clipview.settings import Drawing

    examples = build_examples(tmp_path)
    clips = examples.clips
    changed = [clip.stat().st_mtime_ns for clip in clips]
    assert len(clips) == 12 and len({clip.name for clip in clips}) == 12
    assert [clip.stat().st_mtime_ns for clip in build_examples(tmp_path).clips] == changed
    clip = read_clip(clips[0], [4], limits, Drawing())
    guidance = KnownClips(examples.tables).guidance(clips[0].name, clip)
    assert guidance.kind == PUBLISHED and guidance.guided > len(clip.shown) // 2
