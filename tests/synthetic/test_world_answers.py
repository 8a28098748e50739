"""Frames of the world are known by their pixels, and answered with the truth in whatever form is asked for."""

import base64
import io
import json
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from vidreason.annotation import truth_guidance
from vidreason.errors import ManifestError
from vidreason.files import read_folder
from vidreason.manifests.manifest import load_manifest
from vidreason.synthetic import TRUTH_FOLDER, WorldConfig, build_synthetic_actions, clip_seed, render_clip
from vidreason.synthetic.frame_finder import FrameFinder
from vidreason.synthetic.world_answers import WorldAnswers, find_grid
from vidreason.video import decode_frames

KEY_R = 'Answer with {"key_r": [[row, column], ...]}'
FORMS = {
    "key_r": KEY_R,
    "im_o": 'Answer with {"all_os": ["name"], "im_o": [{"name": "name", "location": [x, y]}]}',
    "list": 'Answer with {"important_objects": [], "localization": [{"name": "name", "cells": [[row, column]]}]}',
    "keys": 'Answer with {"important_objects": ["name"], "localization": {"name": [[row, column]]}}',
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    path = tmp_path_factory.mktemp("world") / "world"
    build_synthetic_actions(path, WorldConfig(num_frames=16), {"train": 36, "test": 12}, seed=5, num_proc=1)
    return path


@pytest.fixture(scope="module")
def answers(world):
    return WorldAnswers(world)


def jpeg_of(frame, quality=90):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality)
    return file.getvalue()


def payload_of(jpeg, *texts):
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    parts = [*({"type": "text", "text": text} for text in texts), {"type": "image_url", "image_url": {"url": url}}]
    return {
        "model": "any",
        "messages": [{"role": "system", "content": "You see."}, {"role": "user", "content": parts}],
    }


def clips_of(world, **size):
    manifest = load_manifest(world)
    for split, rows in manifest.splits.items():
        for row in rows:
            path = manifest.video_path(row)
            yield split, row["video_id"], decode_frames(path).frames, decode_frames(path, **size).frames


def halved(frames, method):
    size = (frames.shape[2] // 2, frames.shape[1] // 2)
    return [np.asarray(Image.fromarray(frame).resize(size, method)) for frame in frames]


@pytest.mark.parametrize("copy", ["original", "half by FFmpeg", "half by Pillow", "a third", "PNG"])
def test_every_frame_is_known_by_its_pixels(world, answers, copy):
    wrong, step = [], 4 if copy == "PNG" else 1
    for split, video_id, frames, small in clips_of(world, max_side_px=54 if copy == "a third" else 80):
        sent = {
            "original": frames,
            "half by FFmpeg": small,
            "half by Pillow": halved(frames, Image.Resampling.BICUBIC),
            "a third": small,
            "PNG": frames[::step],
        }[copy]
        for index, frame in enumerate(sent):
            file = io.BytesIO()
            Image.fromarray(frame).save(file, "PNG" if copy == "PNG" else "JPEG", quality=90)
            found = answers.finder.keys[answers.finder.find(file.getvalue())]
            same = found[:2] == (split, video_id) and np.array_equal(
                frames[found[2]], frames[index * (4 if copy == "PNG" else 1)]
            )
            wrong += [] if same else [(video_id, index, found)]
    assert wrong == []


def test_other_pictures_are_not_known(answers):
    rng = np.random.default_rng(0)
    config = WorldConfig()
    clips = [render_clip("tap", clip_seed(6, "test", number), config).frames[::8] for number in range(4)]
    for picture in (
        *np.concatenate(clips),
        np.zeros((120, 160, 3), np.uint8),
        rng.integers(0, 256, (120, 160, 3), dtype=np.uint8),
    ):
        assert answers.finder.find(jpeg_of(picture)) is None
        with pytest.raises(ValueError, match="shows no frame"):
            answers(payload_of(jpeg_of(picture), KEY_R, "4 rows and 4 columns"))


def test_cells_are_those_of_truth_guidance(world, answers):
    rows = read_folder(world / TRUTH_FOLDER)["test"]
    manifest = load_manifest(world)
    expected = {(row["video_id"], row["frame_index"]): row for row in truth_guidance(rows, (3, 5))}
    seen = 0
    for row in manifest.split("test"):
        for index, frame in enumerate(decode_frames(manifest.video_path(row)).frames[::4]):
            answer = json.loads(answers(payload_of(jpeg_of(frame), "A grid of 3 rows and 5 columns.", KEY_R)))
            weights = expected[row["video_id"], 4 * index]["weights"]
            assert answer == {"key_r": [[cell // 5, cell % 5] for cell in np.flatnonzero(weights).tolist()]}
            seen += bool(answer["key_r"])
    assert seen > 12


def test_objects_and_centres_are_the_truth_in_pixels_of_the_picture(world, answers):
    rows = read_folder(world / TRUTH_FOLDER)["train"]
    manifest = load_manifest(world)
    path = manifest.video_path(manifest.split("train")[0])
    for side_px in (160, 80):
        for index, frame in enumerate(decode_frames(path, max_side_px=side_px).frames):
            objects = rows[index]["objects"]
            relevant = [entry for entry in objects if entry["relevant"]]
            answer = json.loads(answers(payload_of(jpeg_of(frame), FORMS["im_o"])))
            assert answer["all_os"] == [entry["name"] for entry in objects]
            assert [entry["name"] for entry in answer["im_o"]] == [entry["name"] for entry in relevant]
            for place, entry in zip(answer["im_o"], relevant, strict=True):
                exact = np.asarray(entry["center"]) * (side_px, side_px * 3 // 4)
                assert np.abs(np.asarray(place["location"]) - exact).max() <= 1.0


def test_localization_comes_as_a_list_or_by_name(world, answers):
    manifest = load_manifest(world)
    frame = decode_frames(manifest.video_path(manifest.split("train")[0]), indices=[8]).frames[0]
    as_list, as_keys = (
        json.loads(answers(payload_of(jpeg_of(frame), "a 4x4 grid", FORMS[form]))) for form in ("list", "keys")
    )
    assert as_list["important_objects"] == as_keys["important_objects"] == list(as_keys["localization"])
    assert {place["name"]: place["cells"] for place in as_list["localization"]} == as_keys["localization"]
    key_r = json.loads(answers(payload_of(jpeg_of(frame), "a 4x4 grid", KEY_R)))["key_r"]
    assert key_r and sorted(key_r) == sorted(
        {tuple(c): c for cs in as_keys["localization"].values() for c in cs}.values()
    )


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("a grid of 4 rows and 6 columns", (4, 6)),
        ("4 rows (indexed 0 to 3 from top to bottom)\n5 columns (indexed 0 to 4", (4, 5)),
        ("divided into a 3\u00d77 grid", (3, 7)),
        ("an 8 x 8 grid", (8, 8)),
        ("160 pixels wide and 120 pixels high", None),
    ],
)
def test_the_size_of_the_grid_is_read_from_the_text(text, grid):
    assert find_grid(text) == grid


def test_what_cannot_be_answered_says_why(world, answers):
    manifest = load_manifest(world)
    jpeg = jpeg_of(decode_frames(manifest.video_path(manifest.split("train")[0]), indices=[0]).frames[0])
    for payload, named in (
        (payload_of(jpeg, KEY_R), "no size of a grid"),
        (payload_of(jpeg, "4 rows and 4 columns"), "none of the keys"),
        ({"messages": [{"role": "user", "content": KEY_R}]}, "expected one picture, got 0"),
        ({"messages": []}, "at least one message"),
    ):
        with pytest.raises(ValueError, match=named):
            answers(payload)
    assert json.loads(WorldAnswers(world, (2, 2), ["train"])(payload_of(jpeg, KEY_R)))["key_r"]
    with pytest.raises(ManifestError, match="no split 'dev'"):
        FrameFinder(world, ["dev"])


def test_the_server_as_a_process(world):
    command = [sys.executable, "-m", "vidreason.synthetic.chat_server", "--port", "0", "--world"]
    nowhere = subprocess.run([*command, "nowhere"], capture_output=True, text=True, timeout=60)
    assert nowhere.returncode == 1 and nowhere.stderr.startswith("error: ") and "nowhere" in nowhere.stderr
    assert len(nowhere.stderr.splitlines()) == 1
    manifest = load_manifest(world)
    jpeg = jpeg_of(decode_frames(manifest.video_path(manifest.split("test")[0]), indices=[0]).frames[0])
    with subprocess.Popen([*command, str(world), "--splits", "test"], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().removeprefix("serving ").strip()
            body = json.dumps(payload_of(jpeg, "4 rows and 4 columns", KEY_R)).encode()
            with urllib.request.urlopen(f"{url}/chat/completions", body, timeout=30) as response:
                answer = json.load(response)["choices"][0]["message"]["content"]
        finally:
            process.terminate()
    assert "key_r" in json.loads(answer)
