"""The background-class ablation takes whole classes out, and says where there is none to make."""

import pytest

from vidreason.a2o.scene_classes import without_scene_classes
from vidreason.errors import ConfigError, DetectionError

PAPER = [
    *("person", "ball", "net", "hoop", "goalpost", "arm", "leg", "foot", "torso", "forearm", "head"),
    *("floor", "court", "grass", "rim"),
]


def test_the_papers_set_loses_its_scene_classes():
    kept, removed = without_scene_classes(PAPER)
    assert removed == ("floor", "court", "grass")
    assert kept == tuple(text for text in PAPER if text not in removed)


def test_scenes_of_ones_own_are_compared_as_whole_texts_in_one_spelling():
    assert without_scene_classes(["Grass", "grass court", "mug"], ["  GRASS "]) == (("grass court", "mug"), ("grass",))
    with pytest.raises(ConfigError, match="none of mug, grass court is a scene class"):
        without_scene_classes(["mug", "grass court"])
    with pytest.raises(ConfigError, match="all of grass, floor are scene classes"):
        without_scene_classes(["grass", "floor"])
    with pytest.raises(DetectionError, match="'mug' is given twice"):
        without_scene_classes(["mug", "Mug"])
