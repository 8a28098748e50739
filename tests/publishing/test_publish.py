"""A published folder: what is in it, what its card says, the code on its card run as it stands, and the push."""

import hashlib
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import create_autospec

import datasets
import numpy as np
import pytest
import yaml
from huggingface_hub import HfApi
from PIL import Image

from vidreason.annotation.job import AnnotationRun, write_run
from vidreason.audit.drawing import GUIDANCE_COLOR
from vidreason.errors import GuidanceError, VidreasonError
from vidreason.files import content_hash, split_files
from vidreason.guidance import FEATURES, guidance_row, load_guidance, write_guidance
from vidreason.manifests.manifest import load_manifest, manifest_row, write_manifest
from vidreason.publishing.guidance_card import read_prompt_texts
from vidreason.publishing.guidance_folder import PublishSettings, publish_folder, push_folder
from vidreason.video import decode_frames, probe_video, write_video

NUM_FRAMES, FPS = 6, 10.0
PROMPT = 'id: mine-1\nform: key_r\n\n[user]\nMark cells. Answer like this:\n```json\n{"key_r": [[0, 1]]}\n```\n'
RUN = AnnotationRun(
    annotator="llm",
    model="gpt-4.1-mini",
    policy="10 uniform frames of 60 % of the videos",
    splits=("train",),
    label_in_prompt=True,
    image_settings={"max_side_px": None, "jpeg_quality": 90},
    seed=7,
    started_at="2025-01-01T00:00:00+00:00",
    totals={"requests": 14, "attempts": 15, "cost_usd": 0.0123},
)


def frame_row(video_id, index, split="train", **extra):
    key = {"video_id": video_id, "source": "tests@1", "split": split, "frame_index": index}
    key |= {"timestamp_s": index / FPS, "frame_height": 48, "frame_width": 64}
    weights, grid = [0.0] * 16, (4, 4)
    if "status" not in extra:
        weights[index % 16] = 1.0
    objects = [{"name": "hand", "center": [0.2, 0.1], "box": [0.1, 0.0, 0.3, 0.2], "relevant": True}]
    digest = hashlib.sha256(PROMPT.encode()).hexdigest()
    provenance = {"model": "gpt-4.1-mini", "prompt_id": "mine-1", "prompt_sha256": digest, "request_hash": f"{index}"}
    provenance |= {"raw_response": '{"key_r": [[0, 1]]}', "prompt_tokens": 330, "completion_tokens": 20}
    return guidance_row(
        key, weights, grid, producer="llm", **{"objects": objects, "cost_usd": 0.001, **provenance, **extra}
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Videos, their manifest, a prompt, and a guidance table with a `work` folder and a failed row."""
    folder = tmp_path_factory.mktemp("home")
    manifest_rows = {"train": [], "test": []}
    rows = {"train": [], "test": []}
    for number in range(4):
        split = "test" if number == 3 else "train"
        video_id = f"wave/v_{number}.take"
        path = folder / "videos" / f"{video_id}.avi"
        frames = np.full((NUM_FRAMES, 48, 64, 3), 40 * number + 60, dtype=np.uint8)
        write_video(path.with_suffix(".mp4"), frames, FPS)
        path.with_suffix(".txt").write_text("notes beside the video")
        manifest_rows[split].append(manifest_row(f"{video_id}.mp4", "wave", probe_video(path.with_suffix(".mp4"))))
        rows[split] += [frame_row(video_id, index, split) for index in range(0, NUM_FRAMES, 2)]
    rows["train"].append(frame_row("wave/v_0.take", 5, status="refused", objects=[]))
    write_guidance(folder / "table", rows)
    write_manifest(folder / "manifest", manifest_rows, ["wave"], "tests@1", folder / "videos")
    write_run(folder / "table", RUN)
    (folder / "table" / "work" / "requests.sqlite").write_text("answers")
    (folder / "mine.txt").write_text(PROMPT)
    return folder


def publish(home, out, **settings):
    texts = settings.pop("texts", read_prompt_texts([home / "mine.txt"]))
    manifest = settings.pop("manifest", None)
    return publish_folder(home / "table", out, PublishSettings(**settings), texts, manifest)


@pytest.fixture(scope="module")
def published(home, tmp_path_factory):
    """Where the code of the card finds it: the folder `org/name` below the current one."""
    place = tmp_path_factory.mktemp("place")
    (place / "org").mkdir()
    out = publish(
        home, place / "org" / "name", repo_id="org/name", license="cc-by-4.0", title="Waves", max_rows_per_file=4
    )
    return out


def card_of(published):
    text = (published.folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_folder_holds_what_goes_and_nothing_else(published):
    assert sorted(published.files) == [
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00003.parquet",
        "data/train-00001-of-00003.parquet",
        "data/train-00002-of-00003.parquet",
        "example.png",
    ]
    found = {path.relative_to(published.folder).as_posix() for path in published.folder.rglob("*") if path.is_file()}
    assert found == set(published.files)
    assert published.num_rows == 13
    assert not published.folder.with_name("name.partial").exists()


def test_load_dataset_gives_all_rows_and_features(published, home, tmp_path):
    loaded = datasets.load_dataset(str(published.folder), cache_dir=str(tmp_path))
    for split, rows in load_guidance(home / "table").items():
        assert loaded[split].features == FEATURES
        assert loaded[split].to_list() == rows.to_list()


def test_the_front_matter_is_what_the_hub_reads(published):
    front, _ = card_of(published)
    files = [path for split in ("test", "train") for path in split_files(published.folder, split)]
    assert front["configs"] == [
        {
            "config_name": "default",
            "description": f"Content SHA-256: {content_hash(files)}",
            "data_files": [
                {"split": "test", "path": "data/test-*.parquet"},
                {"split": "train", "path": "data/train-*.parquet"},
            ],
        }
    ]
    assert front["license"] == "cc-by-4.0"
    assert front["size_categories"] == ["n<1K"]
    assert front["task_categories"] == ["video-classification"]
    assert {"video", "grid-guidance", "vidreason"} <= set(front["tags"])
    assert front["pretty_name"] == "Waves"


def test_the_card_states_the_facts(published):
    _, body = card_of(published)
    for expected in (
        "| train | 10 | 3 | 9 | 0 | 1 | 0 | 0 | 0 |",
        "| test | 3 | 1 | 3 | 0 | 0 | 0 | 0 | 0 |",
        "| sum over the rows | 4290 | 260 | 0.0130 |",
        "llm gpt-4.1-mini (13 rows)",
        "10 uniform frames of 60 % of the videos",
        "max_side_px none, jpeg_quality 90",
        "requests 14, attempts 15, cost_usd 0.0123",
        "**Label in the prompt:** yes. The producer was told the action",
        "without their informed consent",
        hashlib.sha256(PROMPT.encode()).hexdigest(),
        "````text\n" + PROMPT.rstrip("\n") + "\n````",  # a fence that the prompt's own does not close
        "4 x 4",
        "tests@1",
    ):
        assert expected in body, expected
    assert "![Grids of 4 frames" in body and "no pixels of the videos" in body


def test_the_code_on_the_card_runs_as_it_stands(published, home, tmp_path):
    """At most five lines, in a folder where `org/name` and the videos are, without the network."""
    _, body = card_of(published)
    code = re.search(r"```python\n(.*?)\n```", body, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line]) <= 5
    place = published.folder.parents[1]
    (place / "path" / "to").mkdir(parents=True, exist_ok=True)
    os.symlink(home / "videos", place / "path" / "to" / "videos")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("wave/v_0.take 0.0 ok [1.0, 0.0,") and lines[0].endswith("(48, 64, 3)")
    assert any(line.startswith("wave/v_0.take 0.5 refused") for line in lines)


def test_what_is_not_known_is_said(home, tmp_path):
    rows = {"train": [frame_row("wave/v_0.take", 0)]}
    write_guidance(tmp_path / "bare", rows)
    found = publish_folder(tmp_path / "bare", tmp_path / "out", PublishSettings(num_examples=0))
    assert found.unknown_prompts == ("mine-1",)
    front, body = card_of(found)
    assert "license" not in front
    assert "No licence was stated" in body
    assert "**Label in the prompt:** not recorded" in body
    assert "The text of this prompt is not recorded" in body
    assert "path/to/this/folder" in body
    assert "example.png" not in body and "example.png" not in found.files


def test_merged_rows_name_each_of_their_prompts(tmp_path):
    row = frame_row("wave/v_0.take", 0, prompt_id="a-1 + b-1", prompt_sha256="aa + bb")
    write_guidance(tmp_path / "table", {"train": [row]})
    texts = {"aa": "first text", "bb": "second text"}
    found = publish_folder(tmp_path / "table", tmp_path / "out", prompt_texts=texts)
    _, body = card_of(found)
    assert body.index("#### a-1") < body.index("first text") < body.index("#### b-1") < body.index("second text")
    assert found.unknown_prompts == ()


def colors_of(path):
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)


def test_the_example_has_no_pixels_unless_asked_for(home, published, tmp_path, caplog):
    manifest = load_manifest(home / "manifest")
    schematic = colors_of(published.folder / "example.png")
    tint = np.rint(0.5 * np.asarray(GUIDANCE_COLOR) + 0.5 * 176)
    assert (np.abs(schematic - tint) <= 1).all(axis=1).any()
    # a manifest alone brings no pixels
    without = publish(home, tmp_path / "without", manifest=manifest)
    assert (without.folder / "example.png").read_bytes() == (published.folder / "example.png").read_bytes()
    assert "pixels" not in caplog.text
    shown = publish(home, tmp_path / "shown", manifest=manifest, with_pixels=True)
    assert "check that their licence allows it" in caplog.text
    _, body = card_of(shown)
    assert "shows pixels of the videos, whose own licence (tests@1)" in body
    pixel = decode_frames(home / "videos" / "wave" / "v_1.take.mp4").frames[0, -1, -1].astype(int)
    assert (np.abs(colors_of(shown.folder / "example.png") - pixel) <= 2).all(axis=1).any()
    with pytest.raises(GuidanceError, match="--with_pixels needs --manifest"):
        publish(home, tmp_path / "no", with_pixels=True)


def test_raw_responses_can_be_left_out(home, tmp_path):
    found = publish(home, tmp_path / "out", raw_responses=False)
    assert set(load_guidance(found.folder)["train"]["raw_response"][:]) == {""}
    assert "(left out here)" in card_of(found)[1]


@pytest.mark.parametrize(
    ("facts", "line"),
    [({"policy": "frames of /home/me/videos"}, "a path of this machine"), ({"model": "sk-" + "a1" * 20}, "a key")],
)
def test_a_card_that_gives_something_away_is_refused(tmp_path, facts, line):
    write_guidance(tmp_path / "table", {"train": [frame_row("wave/v_0.take", 0)]})
    write_run(tmp_path / "table", AnnotationRun(**facts))
    with pytest.raises(GuidanceError, match=f"README.md, line .*, would hold {line}"):
        publish_folder(tmp_path / "table", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table"]


def test_a_row_that_gives_something_away_leaves_nothing_behind(tmp_path):
    leaky = frame_row("wave/v_0.take", 1, raw_response="read from /home/me/a.avi")
    write_guidance(tmp_path / "table", {"train": [frame_row("wave/v_0.take", 0), leaky]})
    with pytest.raises(GuidanceError, match="split 'train', row 1: column 'raw_response'"):
        publish_folder(tmp_path / "table", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table"]


def test_an_earlier_folder_is_replaced_only_when_told_to(home, tmp_path):
    publish(home, tmp_path / "out", max_rows_per_file=2)
    with pytest.raises(GuidanceError, match="not empty; pass --overwrite"):
        publish(home, tmp_path / "out")
    again = publish(home, tmp_path / "out", overwrite=True, num_examples=0)
    assert sorted(again.files) == [
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
    ]
    (tmp_path / "out" / "thesis.txt").write_text("dear to someone")
    with pytest.raises(GuidanceError, match=r"holds other files, such as thesis\.txt"):
        publish(home, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").exists()


@pytest.mark.parametrize("out", ["table", "table/published", "."])
def test_a_folder_that_holds_the_table_is_refused(home, out):
    with pytest.raises(GuidanceError, match="must be apart"):
        publish(home, home / out)


@pytest.mark.parametrize("repo_id", ["name", "a/b/c", "org/na me", "org/-name"])
def test_names_that_no_repository_has_are_refused(repo_id):
    with pytest.raises(GuidanceError, match="--repo_id"):
        PublishSettings(repo_id=repo_id)


# the push, to a stand-in for the Hub's client


def fake_hub(error=None, is_private=True):
    """It takes what the real client's methods take, and sends nothing."""
    hub = create_autospec(HfApi, instance=True)
    hub.repo_info.return_value = SimpleNamespace(private=is_private)
    hub.upload_folder.return_value = SimpleNamespace(commit_url="https://hub/commit")
    hub.upload_folder.side_effect = error
    return hub


def test_the_push_sends_the_folder_and_clears_old_shards(published):
    hub = fake_hub()
    assert push_folder(published, "org/name", private=True, api=hub) == "https://hub/commit"
    hub.create_repo.assert_called_once_with("org/name", repo_type="dataset", private=True, exist_ok=True)
    hub.upload_folder.assert_called_once_with(
        repo_id="org/name",
        repo_type="dataset",
        folder_path=published.folder,
        commit_message="Guidance for 13 frames",
        delete_patterns=["data/*.parquet", "*/data/*.parquet", "example.png"],
    )


def test_a_folder_that_was_changed_is_not_sent(home, tmp_path):
    found = publish(home, tmp_path / "out")
    (found.folder / "secret.txt").write_text("came later")
    hub = fake_hub()
    with pytest.raises(GuidanceError, match="was changed since"):
        push_folder(found, "org/name", api=hub)
    assert hub.method_calls == []


def test_what_should_be_private_is_not_sent_to_a_public_place(published):
    hub = fake_hub(is_private=False)
    with pytest.raises(GuidanceError, match="exists already and is public: nothing was sent"):
        push_folder(published, "org/name", private=True, api=hub)
    hub.upload_folder.assert_not_called()


def test_a_hub_that_refuses_is_reported_without_its_token(published):
    token = "hf_" + "a" * 30
    for error in (OSError("no network"), RuntimeError(f"401 for {token}")):
        with pytest.raises(VidreasonError, match=f"org/name was not published: {type(error).__name__}") as caught:
            push_folder(published, "org/name", api=fake_hub(error))
        assert token not in str(caught.value)


def test_prompt_files_are_found_by_their_bytes(home, tmp_path):
    texts = read_prompt_texts([home / "mine.txt"])
    assert texts == {hashlib.sha256(PROMPT.encode()).hexdigest(): PROMPT}
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    for path in (tmp_path / "bad.txt", tmp_path / "none.txt"):
        with pytest.raises(GuidanceError, match="cannot be read"):
            read_prompt_texts([path])
