"""A published table of detections: checked, told as what it is, and its card's code run as it stands."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image

from vidreason.annotation.job import AnnotationRun, write_run
from vidreason.audit.drawing import GUIDANCE_COLOR
from vidreason.detection import FEATURES, Found, detection_row, write_detections
from vidreason.errors import GuidanceError
from vidreason.publishing.guidance_folder import PublishSettings, publish_folder

DETECTOR = SimpleNamespace(name="tests", model="m", revision="abc", threshold=0.25, max_side_px=None)


def rows(video_id="wave/a", path=""):
    found = {"person": Found.of([[0.1, 0.2, 0.6, 0.9]], [0.75]), "cup": Found.of([], [])}
    found["unicorn"] = Found.without("unknown_class", f"not known{path}")
    key = {"video_id": video_id, "source": "tests@1", "split": "train", "frame_height": 48, "frame_width": 64}
    return [
        detection_row({**key, "frame_index": n, "timestamp_s": n / 10}, text, one, DETECTOR)
        for n in range(3)
        for text, one in found.items()
    ]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detections")
    table = write_detections(folder / "table", {"train": rows()})
    run = AnnotationRun(annotator="detector", model="tests m", policy="every frame", totals={"detections_made": 9})
    write_run(table, run)
    settings = PublishSettings(license="cc-by-4.0", repo_id="org/name", num_examples=2)
    return publish_folder(table, folder / "org" / "name", settings)


def test_it_is_told_as_what_it_is_and_holds_no_pixels(published):
    assert sorted(published.files) == ["README.md", "data/train-00000-of-00001.parquet", "example.png"]
    assert (published.num_rows, published.message) == (9, "9 rows of detections")
    card = (published.folder / "README.md").read_text()
    facts = yaml.safe_load(card.split("---")[1])
    assert facts["license"] == "cc-by-4.0" and "object-detection" in facts["tags"]
    assert (
        "# Detections" in card
        and "detector tests m@abc (9 rows)" in card
        and "detections_made 9" in card.replace("`", "")
    )
    assert "| person | 3 | 0 | 0 | 3 |" in card and "| train | 9 | 1 | 3 | 3 |" in card
    assert "Boxes are drawn on blank frames" in card
    picture = np.asarray(Image.open(published.folder / "example.png").convert("RGB"))
    assert (picture == GUIDANCE_COLOR).all(axis=-1).any()
    table = datasets.load_dataset(str(published.folder))["train"]
    assert table.features == FEATURES


def test_the_code_on_the_card_runs_as_it_stands(published):
    card = (published.folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    home = published.folder.parents[1]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(home / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'cup': np.float32(0.0)" in done.stdout and "'person': np.float32(0.75)" in done.stdout


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (rows(path=" in /home/someone/videos"), "column 'raw_response' holds a path of this machine"),
        (rows(video_id="../a"), "not a path relative to the folder of videos"),
        (
            [*rows(), {**rows()[0], "frame_index": 9}],
            "another row speaks for 0.000 s and 'person' of wave/a",
        ),
    ],
)
def test_what_must_not_go_out_does_not(tmp_path, made, words):
    table = write_detections(tmp_path / "table", {"train": made})
    with pytest.raises(GuidanceError, match=re.escape(words)):
        publish_folder(table, tmp_path / "out", PublishSettings())
    assert not (tmp_path / "out").exists()
