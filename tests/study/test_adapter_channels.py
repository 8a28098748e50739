"""The study of the adapter's channels compares models that differ in the way of the maps alone."""

from vidreason.study.execution import check_settings
from vidreason.study.study_file import load_study
from vidreason.study.study_plots import check_plots


def test_the_study_of_channels_can_be_run(repository):
    study = load_study(repository / "recipes" / "study" / "adapter_channels.yaml")
    check_settings(study)
    check_plots(study)
    configs = {cell.values["adapter"]: study.plan(cell, 0).recipe["model_config"] for cell in study.cells}
    assert len(configs) == 5 and len(study.seeds) >= 5
    own = ("adapter_depth", "adapter_hidden_size", "fusion")
    shared = [{name: value for name, value in config.items() if name not in own} for config in configs.values()]
    assert all(config == study.recipe["model_config"] for config in shared)
    ways = {name: tuple(config.get(setting) for setting in own) for name, config in configs.items()}
    assert ways == {
        "direct": (None, None, None),
        "one_channel": (1, 1, None),
        "three_channels": (1, 3, None),
        "eight_channels": (1, 8, None),
        "no_compression": (None, None, "channels"),
    }
