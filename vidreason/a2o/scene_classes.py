"""The background-class ablation: the classes of a set that are places and not things, taken out.

The paper removes the background-related classes from the set that its search ended with, and accuracy falls from 59.8
to 54.1 % (section 4.5.1). It calls the classes that are left of a scene "scene anchors".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..detection.class_text import check_class_texts
from ..errors import ConfigError

SCENE_CLASSES = (
    *("floor", "court", "grass", "field", "pitch", "lawn", "ground", "sand", "snow", "water", "sea", "sky"),
    *("wall", "ceiling", "ceiling light", "window", "door", "stage", "mat", "stand", "stands", "audience", "crowd"),
    *("road", "street", "pavement", "tree", "background", "room", "kitchen", "gym", "stadium", "swimming pool"),
)
"""Places and what fills them: of the paper's listing 1 floor, court and grass; the others are ours. A net, a hoop, a
rim and a goalpost are aimed at, and count as things. For a synthetic world, give the textures of its `background`
column and "background"."""


def without_scene_classes(
    class_texts: Sequence[str], scene_classes: Iterable[str] = SCENE_CLASSES
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide a set of classes: those that stay in the ablation, and those that are taken out.

    Whole class texts are compared: "grass" takes out "grass" and neither "grass court" nor "grasshopper".

    Args:
        class_texts: The set, in the order of its maps.
        scene_classes: What counts as a scene.

    Returns:
        The classes that stay, and those that go, each in the order of the set.

    Raises:
        DetectionError: A class text cannot be used.
        ConfigError: There is nothing to take out, or nothing would be left: both are no ablation.
    """
    texts, scenes = check_class_texts(class_texts), set(check_class_texts(scene_classes))
    kept = tuple(text for text in texts if text not in scenes)
    removed = tuple(text for text in texts if text in scenes)
    if not removed:
        raise ConfigError(f"none of {', '.join(texts)} is a scene class, so there is nothing to take out")
    if not kept:
        raise ConfigError(f"all of {', '.join(texts)} are scene classes: without them no class would be left")
    return kept, removed
