"""Questions on real frames from their files to a score, by a tiny model with random weights."""

import pytest
from answer_real_questions import answer_all, can_serve

from vidreason.videoqa.tables import load_predictions

pytestmark = pytest.mark.slow


def test_real_questions_end_as_statuses_or_wrong(shared_data, tmp_path):
    """STAR's four on 40 frames and TempCompass' on two GIFs: a row for each, and no score above chance by far."""
    data = shared_data / "videoqa"
    if not data.is_dir():
        pytest.skip("no real questions: ../shared/data/videoqa does not exist beside the repository")
    records = answer_all(data, tmp_path / "work", tmp_path / "tables")
    ways = ("local", "blind", *(("served",) if can_serve() else ()))
    assert set(records) == {f"{name}_{way}" for name in ("star", "tempcompass") for way in ways}
    for name, record in records.items():
        table = load_predictions(tmp_path / "tables" / name)
        rows = [row for split in table.values() for row in split]
        assert len(rows) == (4 if name.startswith("star") else 32) == sum(record["statuses"].values())
        assert {row["status"] for row in rows} <= {"ok", "empty", "truncated"}
        assert {row["num_frames"] for row in rows} == {0 if name.endswith("blind") else 8}
        assert record["score"]["n"] == len(rows) and record["score"]["missing"] == 0
        assert record["score"]["score"] < 40, "bytes at random are no answers"
