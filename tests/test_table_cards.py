"""`datasets.load_dataset` of every kind of table that is written here gives that table's rows, and no other's.

It keys its cache by the folder's last name and the configurations on the card, so tables of one name with cards that
say the same would be taken for one another without the hash of their content.
"""

import datasets
import numpy as np
import pytest

from vidreason.clips.packing import PackRequest, PackSettings, pack_clips
from vidreason.guidance import guidance_row, write_guidance
from vidreason.manifests.manifest import write_manifest
from vidreason.manifests.segments import write_segments
from vidreason.publishing.guidance_folder import PublishSettings, publish_folder
from vidreason.synthetic import WorldConfig, build_synthetic_actions
from vidreason.synthetic.assembly import AssemblyConfig, build_synthetic_assembly
from vidreason.video.writer import write_video
from vidreason.videoqa.tables import prediction_row, question_row, write_predictions, write_questions


def write_guidance_table(folder, start):
    key = {"video_id": "a", "source": "tests@1", "split": "train", "frame_height": 48, "frame_width": 64}
    rows = [
        guidance_row({**key, "frame_index": start + n, "timestamp_s": (start + n) / 10}, [1, 0], (1, 2), "tests")
        for n in range(3)
    ]
    return write_guidance(folder, {"train": rows})


def manifest_rows(start):
    sizes = {"num_frames": 8, "fps": 10.0, "duration_s": 0.8, "height": 48, "width": 64}
    return [{"path": f"{start}/{n}.mp4", "label": "a", "group": "", **sizes} for n in range(3)]


def write_manifest_table(folder, start):
    write_manifest(folder, {"train": manifest_rows(start)}, ["a"], "tests@1", folder.parent.parent)
    return folder


def write_segment_table(folder, start):
    times = {"start_frame": 0, "end_frame": 5, "start_s": 0.0, "end_s": 0.5, "label": "a"}
    return write_segments(folder, {"train": [{"video_id": f"{start}/{n}", **times} for n in range(3)]}, ["a"])


def write_packed_table(folder, start):
    videos = folder.parent / "videos"
    pixels = np.full((8, 48, 64, 3), 10 * start, dtype=np.uint8)
    for row in manifest_rows(start):
        write_video(videos / row["path"], pixels, 10.0)
    write_manifest(folder.parent / "manifest", {"train": manifest_rows(start)}, ["a"], "tests@1", videos)
    request = PackRequest(str(folder.parent / "manifest"), None, ("train",), settings=PackSettings(frames_per_clip=2))
    pack_clips(request, folder, overwrite=True)
    return folder


def write_truth_table(folder, start):
    config = WorldConfig(width=96, height=72, num_frames=6)
    build_synthetic_actions(folder.parent / "world", config, {"train": 12}, seed=start, overwrite=True)
    return folder.parent / "world" / "truth"


def write_assembly_truth(folder, start):
    lengths = {"min_duration_s": 2.0, "max_duration_s": 5.0, "min_action_s": 0.6, "max_action_s": 1.0}
    config = AssemblyConfig(width=96, height=72, min_pause_s=0.3, max_pause_s=0.5, **lengths)
    build_synthetic_assembly(folder.parent / "world", config, {"train": 1}, seed=start, overwrite=True)
    return folder.parent / "world" / "truth"


def write_published_table(folder, start):
    guidance = write_guidance_table(folder.parent / "guidance", start)
    publish_folder(guidance, folder, PublishSettings(overwrite=True, num_examples=0))
    return folder


def write_question_table(folder, start):
    asked = {"video_id": "a", "question": "What is it?", "answer_format": "open", "answer": "a cup"}
    rows = [question_row(**keyed(start + n), **asked) for n in range(3)]
    return write_questions(folder, {"train": rows})


def write_prediction_table(folder, start):
    return write_predictions(
        folder, {"train": [prediction_row(**keyed(start + n), prediction="a cup") for n in range(3)]}
    )


def keyed(number):
    return {"question_id": str(number), "source": "tests@1", "split": "train", "producer": "tests"}


@pytest.mark.parametrize(
    "write",
    [
        write_guidance_table,
        write_manifest_table,
        write_segment_table,
        write_packed_table,
        write_truth_table,
        write_assembly_truth,
        write_published_table,
        write_question_table,
        write_prediction_table,
    ],
)
def test_tables_with_cards_that_say_the_same_are_told_apart(tmp_path, write):
    def load(place, start):
        folder = write(tmp_path / place / "table", start)
        loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
        own = datasets.Dataset.from_parquet(
            [str(path) for path in sorted((folder / "data").glob("train-*.parquet"))], keep_in_memory=True
        )
        plain = [name for name in own.column_names if name != "frames"]  # pictures are compared by their clips' rows
        assert loaded.select_columns(plain).to_list() == own.select_columns(plain).to_list()
        return folder

    first = load("a", 1)
    assert load("b", 2).name == first.name  # another folder of the same name
    assert load("a", 3) == first  # the same folder, written anew
