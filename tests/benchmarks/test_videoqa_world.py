"""The study of drawn worlds: its page shows what its reports say. The commands themselves have tests of their own."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from vidreason.synthetic.questions import QuestionSettings
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
    page = study.results_page([{"seed": 3, "report": {"cells": cells}, "curve": [(10, 0.4126)]}])
    assert "61.5" in page and "33.2" in page and "0.413" in page and "99.0" not in page


@pytest.mark.parametrize("recipe", ["videoqa_world_stills.yaml", "videoqa_world.yaml"])
def test_the_recipes_are_read_and_fit_each_other(study, recipe):
    path = ROOT / "recipes" / recipe
    _, data, training = parse_arguments([str(path)])
    assert data.answer_prompt == "bare_question" and training.rationale_weight == 0
    assert data.max_side_px == 64 and data.num_frames == (2 if "stills" in recipe else 8)
    first, second = (
        yaml.safe_load((ROOT / "recipes" / name).read_text())
        for name in ("videoqa_world_stills.yaml", "videoqa_world.yaml")
    )
    assert second["model_name_or_path"] == first["output_dir"]
    assert QuestionSettings(types=list(study._STILLS))
