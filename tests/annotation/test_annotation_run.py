"""The facts of an annotator's run, beside its table."""

import json

import pytest

from vidreason.annotation.job import AnnotationRun, read_run, run_path, write_run
from vidreason.errors import GuidanceError

RUN = AnnotationRun(
    annotator="llm",
    model="gpt-4.1-mini",
    prompt_id="ucf-1",
    prompt_sha256="0" * 64,
    policy="10 uniform frames of 60 % of the videos",
    splits=("train",),
    label_in_prompt=True,
    grid=(4, 4),
    image_settings={"max_side_px": None, "jpeg_quality": 90},
    settings={"temperature": 0.0},
    seed=0,
    started_at="2025-01-01T00:00:00+00:00",
    finished_at="2025-01-01T01:00:00+00:00",
    totals={"frames": 10, "cost_usd": 0.05},
)


def test_a_run_is_read_as_it_was_written(tmp_path):
    path = write_run(tmp_path, RUN)
    assert path == run_path(tmp_path) and path.parts[-2:] == ("work", "run.json")
    assert read_run(tmp_path) == RUN
    assert json.loads(path.read_text())["splits"] == ["train"]
    assert [entry.name for entry in path.parent.iterdir()] == ["run.json"]


def test_what_is_not_known_stays_unknown(tmp_path):
    assert read_run(tmp_path) is None
    write_run(tmp_path, AnnotationRun(annotator="motion"))
    assert read_run(tmp_path) == AnnotationRun(annotator="motion")


def test_a_fact_of_a_later_version_is_left_out_aloud(tmp_path, caplog):
    write_run(tmp_path, RUN)
    facts = json.loads(run_path(tmp_path).read_text())
    run_path(tmp_path).write_text(json.dumps({**facts, "mood": "good"}))
    assert read_run(tmp_path) == RUN
    assert "unknown facts ['mood']" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object of facts, got list"),
        ('{"model": 3}', "model is 3"),
        ('{"seed": true}', "seed is True"),
        ('{"label_in_prompt": 1}', "label_in_prompt is 1"),
        ('{"splits": "train"}', "splits is 'train'"),
    ],
)
def test_a_file_that_holds_no_facts_is_named(tmp_path, text, message):
    run_path(tmp_path).parent.mkdir()
    run_path(tmp_path).write_text(text)
    with pytest.raises(GuidanceError, match=message):
        read_run(tmp_path)
