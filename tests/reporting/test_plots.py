import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vidreason.errors import VidreasonError
from vidreason.reporting.plots import COLORS, LINE_STYLES, Panel, plot_training_curves

PLAIN = [
    {"epoch": 1.0, "step": 10, "loss": 2.0},
    {"epoch": 1.0, "step": 10, "eval_validation_top1": 0.25},
    {"epoch": 2.0, "step": 20, "loss": 1.0},
    {"epoch": 2.0, "step": 20, "eval_validation_top1": 0.5},
    {"epoch": 2.0, "step": 20, "train_loss": 1.5},
]
PANELS = (
    Panel("Total training loss", "loss (nats)", ("loss",)),
    Panel("Accuracy", "top-1 accuracy (fraction)", ("eval_top1", "eval_validation_top1", "eval_test_top1")),
    Panel("Spatial alignment loss", "KL divergence (nats)", ("loss_spatial",)),
    Panel("Temporal consistency loss", "JS divergence (nats)", ("loss_temporal",)),
)

SUPERVISED = [
    {"epoch": 1.0, "step": 10, "loss": 3.0, "loss_spatial": 0.75, "loss_temporal": 0.05},
    {"epoch": 2.0, "step": 20, "loss": 2.0, "loss_spatial": 0.5, "loss_temporal": 0.04, "eval_top1": 0.75},
]


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def points(axis):
    lines = [line.get_xydata().tolist() for line in axis.lines if len(line.get_xdata())]
    return {tuple(map(tuple, line)) for line in lines}


def test_the_four_panels(tmp_path, drawn):
    path = plot_training_curves({"plain": PLAIN, "rs": SUPERVISED}, tmp_path / "new" / "curves.png", PANELS)
    total, accuracy, spatial, temporal = drawn[0].axes
    assert points(total) == {((1, 2.0), (2, 1.0)), ((1, 3.0), (2, 2.0))}
    assert points(accuracy) == {((1, 0.25), (2, 0.5)), ((2, 0.75),)}
    assert points(spatial) == {((1, 0.75), (2, 0.5))}
    assert points(temporal) == {((1, 0.05), (2, 0.04))}
    assert legend(total) == ["plain", "rs"]
    assert legend(spatial) == ["plain: not recorded", "rs"]
    assert all("(" in axis.get_ylabel() and axis.get_xlabel() == "epoch" for axis in drawn[0].axes)
    assert np.asarray(Image.open(path).convert("RGB")).std() > 5  # not an empty sheet


def test_a_panel_without_any_values_says_so(tmp_path, drawn):
    plot_training_curves({"plain": PLAIN}, tmp_path / "curves.png", PANELS)
    assert [text.get_text() for text in drawn[0].axes[2].texts] == ["not recorded"]
    assert [text.get_text() for text in drawn[0].axes[0].texts] == []


def test_values_that_are_not_finite_are_counted(tmp_path, drawn):
    history = [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate([1.0, float("nan"), float("inf")])]
    plot_training_curves({"run": history}, tmp_path / "curves.png", PANELS)
    assert legend(drawn[0].axes[0]) == ["run (2 of 3 values not finite)"]


def test_other_keys_and_an_odd_number_of_panels(tmp_path, drawn):
    panels = [Panel(key, "nats", (key,)) for key in ("loss", "loss_spatial", "loss_temporal")]
    plot_training_curves({"rs": SUPERVISED}, tmp_path / "curves.png", panels=panels, x_key="step")
    assert points(drawn[0].axes[1]) == {((10, 0.75), (20, 0.5))}
    assert not drawn[0].axes[3].axison


def test_many_runs_stay_apart(tmp_path, drawn):
    plot_training_curves({f"run {index}": PLAIN for index in range(20)}, tmp_path / "curves.png", PANELS)
    styles = {(line.get_color(), line.get_linestyle()) for line in drawn[0].axes[0].lines}
    assert len(styles) == 20
    assert np.gcd(len(COLORS), len(LINE_STYLES)) == 1


@pytest.mark.parametrize(("histories", "panels"), [({}, [Panel("a", "b", ("c",))]), ({"plain": PLAIN}, [])])
def test_nothing_to_draw_is_an_error(tmp_path, histories, panels):
    with pytest.raises(VidreasonError, match="at least one run and one panel"):
        plot_training_curves(histories, tmp_path / "curves.png", panels=panels)


LIGHT = [
    "vidreason.study",
    "vidreason.reporting.tables",
    "vidreason.reporting.plots",
    "vidreason.reporting.bootstrap",
    "vidreason.attention.faithfulness_report",
]


@pytest.mark.parametrize("module", LIGHT)
def test_figures_load_matplotlib_only_when_they_are_drawn(module):
    program = f"import sys, {module}; print(sorted({{'matplotlib', 'torch'}} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout.strip() == "[]"


def test_pyplot_is_not_touched(tmp_path):
    program = (
        "import sys; from vidreason.reporting.plots import Mark, plot_points; "
        f"plot_points({{'test': {{'a': [Mark(0, 1.0)]}}}}, ['b'], {str(tmp_path / 'a.png')!r}, 'c'); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout.strip() == "False"
