"""The study of drawn worlds: its page shows what its reports say. The commands themselves have tests of their own."""

import importlib.util
import sys
from pathlib import Path

import pytest

from vidreason.videoqa.tiny_vision import VisionLessons
from vidreason.videoqa.training.run import parse_arguments

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("videoqa_world_study", ROOT / "benchmarks" / "videoqa_world.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_has_a_row_for_each_number_of_steps(study):
    cells = [
        {"group": "all", "name": "", "n": 9, "score": 61.5, "blind": 33.2},
        {"group": "steps", "name": "2", "n": 4, "score": 50.0, "blind": 25.0},
        {"group": "type", "name": "color_of", "n": 4, "score": 99.0, "blind": 25.0},
    ]
    reports = [
        {"seed": 3, "report": {"cells": cells}, "curve": [(10, 0.4126)]},
        {"seed": 4, "report": {"cells": [{**cell, "score": cell["score"] + 2} for cell in cells]}, "curve": []},
    ]
    page = study.results_page(reports)
    assert "61.5" in page and "33.2" in page and "0.413" in page and "99.0" not in page
    # 61.5 and 63.5: mean 62.5, and 12.706 standard errors of 1 to either side
    assert "62.5 (49.8 to 75.2)" in page and "29.3 (16.6 to 42.0)" in page


def test_the_recipe_is_read_and_says_what_the_study_does(study):
    path = ROOT / "recipes" / "videoqa_world.yaml"
    _, data, training = parse_arguments([str(path)])
    assert data.answer_prompt == "bare_question" and training.rationale_weight == 0
    assert data.max_side_px == 64 and data.num_frames == 8 and data.share_video
    defaults = study.WorldArguments()
    text = " ".join(path.read_text().replace("#", "").split())
    assert defaults.split_sizes in text and f"--questions_per_video {defaults.questions_per_video:g}" in text
    assert training.max_steps == defaults.steps and VisionLessons().epochs == defaults.epochs
