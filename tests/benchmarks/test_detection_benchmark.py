"""The benchmark of detection looks for what it says, and no more for a trial with two other classes."""

import json

import detection


def test_two_others_of_eight_are_two_eighths_of_the_work(tmp_path):
    args = detection.DetectionArguments(
        ["truth"], out=str(tmp_path / "speed.json"), videos=12, frames_per_video=2, repeats=1
    )
    detection.main(args)
    (run,) = json.loads((tmp_path / "speed.json").read_text())["runs"]
    assert len(set(detection.CLASSES) & set(detection.CHANGED)) == 6 and run["frames"] == 24
    assert run["detections"] == {
        "nothing known": {"made": 24 * 8, "reused": 0},
        "all known": {"made": 0, "reused": 24 * 8},
        "two others": {"made": 24 * 2, "reused": 24 * 6},
    }
    assert "| truth |" in (tmp_path / "speed.md").read_text()
