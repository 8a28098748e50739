"""What lmms-eval calls for our tasks: what is shown, what is asked, and what a reply is worth, by our own scorer."""

import os
from collections import defaultdict
from pathlib import Path

from vidreason.videoqa.scoring.choice import EMPTY, UNPARSABLE, letter_of
from vidreason.videoqa.scoring.measures import RightOrWrong
from vidreason.videoqa.scoring.rules import rule_of_source

VIDEOS_VARIABLE = "VIDREASON_VIDEOS"
_ENDINGS = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".gif")
_INSTRUCTIONS = {
    "choice": "Answer with the option's letter from the given choices directly.",
    "yes_no": "Please answer yes or no.",
    "open": "Answer the question using a single word or phrase.",
}


def doc_to_visual(doc):
    """The path of a question's video, in a list, as lmms-eval wants it."""
    folder = os.environ.get(VIDEOS_VARIABLE)
    if not folder:
        raise RuntimeError(f"set {VIDEOS_VARIABLE} to the folder of the videos")
    bare = Path(folder) / doc["video_id"]
    for path in (bare, *(bare.with_name(bare.name + ending) for ending in _ENDINGS)):
        if path.is_file():
            return [str(path)]
    raise FileNotFoundError(f"{bare}: no video of that name")


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    """The question with its options and what kind of answer is wanted."""
    settings = lmms_eval_specific_kwargs or {}
    options = [f"{letter_of(place)}. {option}" for place, option in enumerate(doc["options"])]
    lines = [doc["question"], *options, _INSTRUCTIONS[doc["answer_format"]]]
    return settings.get("pre_prompt", "") + "\n".join(lines) + settings.get("post_prompt", "")


def doc_to_target(doc):
    """The right answer: a letter where there are options."""
    return letter_of(doc["answer_index"]) if doc["options"] else doc["answer"]


def process_results(doc, results):
    """What a reply is worth, under each metric's name."""
    reply = results[0] if results and isinstance(results[0], str) else ""
    rule = rule_of_source(doc["source"])
    worth = RightOrWrong(rule.normalisation)(doc, {"prediction": reply}, None)
    accuracy = worth.values.get("accuracy", 0.0)
    return {
        "accuracy": accuracy,
        "unparsable": float(worth.status in (UNPARSABLE, EMPTY)),
        "by_type": {"types": rule.types_of(doc), "accuracy": accuracy},
    }


def mean_percent(values):
    """Mean over all questions, in percent."""
    return 100 * sum(values) / len(values) if values else 0.0


def count(values):
    """How many replies named no option, or were empty."""
    return sum(values)


def by_type(entries):
    """Accuracy by question type, in percent."""
    values = defaultdict(list)
    for entry in entries:
        for name in entry["types"]:
            values[name].append(entry["accuracy"])
    return {name: mean_percent(found) for name, found in sorted(values.items())}


def only_choice(dataset):
    """The questions with options."""
    return _of_format(dataset, "choice")


def only_yes_no(dataset):
    """The questions of yes or no."""
    return _of_format(dataset, "yes_no")


def only_open(dataset):
    """The questions that want a word or a phrase."""
    return _of_format(dataset, "open")


def _of_format(dataset, answer_format):
    return dataset.filter(lambda value: value == answer_format, input_columns="answer_format")
