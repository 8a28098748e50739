"""What reasoning supervision brings to studies, without studies."""

import subprocess
import sys

import pytest

from vidreason.errors import ConfigError
from vidreason.rs.study import RSStudies


def test_a_named_method_is_spelled_out_and_own_settings_win():
    settings = RSStudies().spell_out({"method": "reasoning_supervision", "temporal_weight": 0.5})
    assert (settings["spatial_weight"], settings["temporal_weight"]) == (1.0, 0.5)
    assert "method" not in settings
    with pytest.raises(ConfigError, match="method is 'magic'"):
        RSStudies().spell_out({"method": "magic"})


def test_settings_are_those_of_model_data_and_training():
    known = RSStudies().known_settings()
    assert {"model_type", "task", "spatial_weight", "learning_rate"} <= known
    assert "learning_rte" not in known


def test_every_reported_metric_has_a_style():
    system = RSStudies()
    for task in system.tasks.values():
        assert {*task.reported, *task.main, *task.over_groups} <= set(system.metric_styles)


def test_it_is_looked_at_without_torch():
    program = "import sys, vidreason.rs.study; print(sorted({'torch', 'vidreason.study'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout.strip() == "[]"
