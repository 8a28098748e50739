"""MVBench: 20 tasks, a JSON file each, with multiple choice (OpenGVLab/MVBench on the Hub).

An item is {video, question, candidates, answer}, and for five tasks {start, end}: the question is then about that part
of the video. `task` is the benchmark's name of the task, over which it takes the plain mean; `video_id` is the file's
path in the published `video` folder, without its suffix. Of Episodic Reasoning that is a folder of frames, 3 a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from ...errors import QuestionError
from .reading import Drop, Entry, SourceFolder, json_entry, text_of


@dataclass(frozen=True)
class Task:
    """A task of the benchmark.

    Args:
        name: Its name as the benchmark's tables have it.
        folder: Folder of its videos.
        has_bound: Whether a question is about a part of its video (`bound` in video_chat2/mvbench.ipynb of the
            source).
    """

    name: str
    folder: str
    has_bound: bool = False

    @property
    def file(self) -> str:
        """Name of its file, such as "fine_grained_pose.json"."""
        return f"{self.name.lower().replace(' ', '_').replace('-', '_')}.json"


TASKS = (
    Task("Action Sequence", "star/Charades_v1_480", has_bound=True),
    Task("Action Prediction", "star/Charades_v1_480", has_bound=True),
    Task("Action Antonym", "ssv2_video"),
    Task("Fine-grained Action", "Moments_in_Time_Raw/videos"),
    Task("Unexpected Action", "FunQA_test/test"),
    Task("Object Existence", "clevrer/video_validation"),
    Task("Object Interaction", "star/Charades_v1_480", has_bound=True),
    Task("Object Shuffle", "perception/videos"),
    Task("Moving Direction", "clevrer/video_validation"),
    Task("Action Localization", "sta/sta_video", has_bound=True),
    Task("Scene Transition", "scene_qa/video"),
    Task("Action Count", "perception/videos"),
    Task("Moving Count", "clevrer/video_validation"),
    Task("Moving Attribute", "clevrer/video_validation"),
    Task("State Change", "perception/videos"),
    Task("Fine-grained Pose", "nturgbd"),
    Task("Character Order", "perception/videos"),
    Task("Egocentric Navigation", "vlnqa"),
    Task("Episodic Reasoning", "tvqa/frames_fps3_hq", has_bound=True),
    Task("Counterfactual Inference", "clevrer/video_validation"),
)


def read_mvbench(source: SourceFolder, split: str) -> Iterator[Entry]:
    """The questions of all tasks.

    Raises:
        QuestionError: The file of a task is missing and the source may not be incomplete, or cannot be read.
    """
    files = {task: source.find_any(f"json/{task.file}", task.file) for task in TASKS}
    missing = [task.file for task, file in files.items() if file is None]
    if missing and (not source.allow_incomplete or len(missing) == len(TASKS)):
        raise QuestionError(f"{source.folder}: {len(missing)} of {len(TASKS)} tasks are missing: {', '.join(missing)}")
    if missing:
        source.notes.append(f"tasks without a file: {', '.join(missing)}")
    for task, file in files.items():
        if file is not None:
            for number, item in source.entries(file):
                # the files have no ids; places in a published file do not move
                question_id = f"{file.stem}_{number}"
                yield json_entry(f"{file.name} entry {number}", question_id, item, partial(_read_item, task))


def _read_item(task: Task, item: dict[str, Any]) -> dict[str, Any] | Drop:
    name = PurePosixPath(text_of(item["video"]))
    fields: dict[str, Any] = {
        # an episode's folder of frames has dots in its name that begin no suffix
        "video_id": f"{task.folder}/{name if task.name == 'Episodic Reasoning' else name.with_suffix('')}",
        "question": text_of(item["question"]),
        "answer_format": "choice",
        "options": [text_of(option) for option in item["candidates"]],
        "answer": text_of(item["answer"]),
        "task": task.name,
    }
    if task.has_bound:
        fields |= {"start_s": float(item["start"]), "end_s": float(item["end"])}
    if item.get("accurate_start") is not None:  # where the action itself is, in Action Localization
        fields["evidence_spans"] = [{"start_s": float(item["accurate_start"]), "end_s": float(item["accurate_end"])}]
    return fields
