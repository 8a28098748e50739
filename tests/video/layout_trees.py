"""Small copies of known data sets in the layout of their releases. Every video is a few frames of noise."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import av
import numpy as np

from vidreason.video.layouts.ucf50 import CLASS_NAMES as UCF50_NAMES

HEIGHT, WIDTH, FPS = 32, 48, 25
UCF101_NAMES = [f"Action{number:03d}" for number in range(1, 100)] + ["HandStandPushups", "YoYo"]
TEMPLATES = [f"Putting [something] {number} onto [something]" for number in range(172)]
TEMPLATES += [
    "Pouring [something] into [something], but it doesn't stay",
    "Taking [one of many similar things on the table]",
]
ACTIONS = ["Pick_up_chip", "Close_cover", "Tighten_screw", "Background"]


@functools.cache
def clip_bytes(suffix: str, num_frames: int = 5, fps: int = FPS) -> bytes:
    """A video file: MPEG-4 in AVI as UCF101 has it, VP9 in WebM, H.264 in MP4."""
    codec = {".avi": "mpeg4", ".webm": "libvpx-vp9", ".mp4": "libx264"}[suffix]
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for _ in range(num_frames):
                picture = random.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path.read_bytes()


def put(path: Path, content: str | bytes = b"x") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def ucf101(root: Path, groups=(1, 8), clips=(1,), video: bytes | None = None) -> Path:
    """UCF-101 and ucfTrainTestlist under a root: groups 1 to 7 are in test list 1, 8 to 14 in test list 2.

    As in the release, the lists' `HandStandPushups` is the folder `HandstandPushups`, and train lists have CRLF.
    """
    video = clip_bytes(".avi") if video is None else video
    names = [f"{name}/v_{name}_g{g:02d}_c{c:02d}.avi" for name in UCF101_NAMES for g in groups for c in clips]
    for name in names:
        put(root / "UCF-101" / name.replace("HandStandPushups/", "HandstandPushups/"), video)
    lists = root / "ucfTrainTestlist"
    put(lists / "classInd.txt", "".join(f"{label} {name}\r\n" for label, name in enumerate(UCF101_NAMES, start=1)))
    for fold, tested in ((1, range(1, 8)), (2, range(8, 15)), (3, range(15, 22))):
        test = [name for name in names if int(name.split("_g")[1][:2]) in tested]
        train = [f"{name} {UCF101_NAMES.index(name.split('/')[0]) + 1}" for name in names if name not in test]
        put(lists / f"trainlist{fold:02d}.txt", "".join(f"{line}\r\n" for line in train))
        put(lists / f"testlist{fold:02d}.txt", "".join(f"{line}\n" for line in test))
    return root / "UCF-101"


def ucf50(root: Path, names=tuple(UCF50_NAMES), groups=range(1, 26), video: bytes = b"x") -> Path:
    """UCF50 with one clip a group. As in the release, some files spell their class in another way than its folder."""
    spelled = {"PullUps": "Pullup", "Billiards": "Billards"}
    for name in names:
        for group in groups:
            put(root / "UCF50" / name / f"v_{spelled.get(name, name)}_g{group:02d}_c01.avi", video)
    return root / "UCF50"


def template_label(template: str) -> str:
    return template.replace("[", "").replace("]", "")


def something_something(root: Path, suffix: str = ".webm", prefix: str = "", answers: bool = False) -> Path:
    """20bn-something-something-v2 and labels under a root: a training video a class, 3 for validation, 2 to test.

    Ids are numbers from 1 in this order.
    """
    labels = root / "labels"
    names = sorted(map(template_label, TEMPLATES))
    put(labels / f"{prefix}labels.json", json.dumps({name: str(label) for label, name in enumerate(names)}))
    entries = [entry(number, template) for number, template in enumerate([*TEMPLATES, *TEMPLATES[:3]], start=1)]
    put(labels / f"{prefix}train.json", json.dumps(entries[:174]))
    put(labels / f"{prefix}validation.json", json.dumps(entries[174:]))
    put(labels / f"{prefix}test.json", json.dumps([{"id": "178"}, {"id": "179"}]))
    if answers:
        put(labels / "test-answers.csv", f"178;{names[5]}\n179;{template_label(TEMPLATES[172])}\n")
    for number in range(1, 180):
        put(root / "20bn-something-something-v2" / f"{number}{suffix}", clip_bytes(suffix))
    return root / "20bn-something-something-v2"


def entry(number: int, template: str) -> dict:
    """An entry of train.json or validation.json."""
    things = [f"cup {number}", "book"][: template.count("[")]
    parts = template.replace("]", "[").split("[")
    parts[1::2] = things
    return {"id": str(number), "label": "".join(parts).lower(), "template": template, "placeholders": things}


def desktop_assembly(
    root: Path,
    suffix: str = "",
    mapping: str = "mapping/mapping.txt",
    num_labels: int = 30,
    bundles: str | None = None,
) -> Path:
    """Three recordings of 30 frames with a label for each: 10 of the first action, then the second, then background.

    Args:
        root: of the data set.
        suffix: of the files of labels.
        mapping: where the mapping is.
        num_labels: in each file.
        bundles: what stands between `train` and `.bundle`; None for no splits.
    """
    names = ["2020-04-19_14-03-25", "2020-04-19_15-00-00", "2020-05-01_09-30-00"]
    put(root / mapping, "".join(f"{label} {name}\n" for label, name in enumerate(ACTIONS)))
    labels = [ACTIONS[[0, 1, 3][min(number * 30 // num_labels // 10, 2)]] for number in range(num_labels)]
    for name in names:
        put(root / "groundTruth" / f"{name}{suffix}", "".join(f"{label}\n" for label in labels))
        put(root / "videos" / f"{name}.mp4", clip_bytes(".mp4", 30))
    if bundles is not None:
        put(root / "splits" / f"train{bundles}.bundle", f"{names[0]}.txt\n{names[2]}.txt\n")
        put(root / "splits" / f"test{bundles}.bundle", f"{names[1]}.txt\n")
    return root
