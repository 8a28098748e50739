"""Tasks for lmms-eval, which is not installed: their YAML is read, and its calls are made with rows of our tables."""

import importlib.util
import json

import datasets
import pytest
import yaml

from vidreason.videoqa.rows import question_row
from vidreason.videoqa.schema import QUESTION_FEATURES

KEY = {"source": "nextqa@1.0", "split": "val", "video_id": "1001/42", "producer": "tests"}


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "lmms_eval_tasks"


@pytest.fixture(scope="module")
def utils(folder):
    spec = importlib.util.spec_from_file_location("lmms_eval_tasks_utils", folder / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def docs():
    """Rows as `datasets.load_from_disk` gives them to lmms-eval."""
    rows = [
        question_row(
            **{**KEY, "question_id": "42_0", "question": "Who runs?", "answer_format": "choice"},
            **{"options": ["a man", "a dog"], "answer": "a dog", "question_type": "TP"},
        ),
        question_row(**KEY, question_id="42_1", question="Does it run?", answer_format="yes_no", answer="yes"),
        question_row(**KEY, question_id="42_2", question="What is red?", answer_format="open", answer="the cup"),
    ]
    return datasets.Dataset.from_list(rows, features=QUESTION_FEATURES)


def read_task(folder, name, utils):
    """A task as lmms-eval reads it: `!function module.name` is a function of a file beside it."""

    class Loader(yaml.SafeLoader):
        pass

    def function(loader, node):
        module, _, name = loader.construct_scalar(node).partition(".")
        assert module == "utils"
        return getattr(utils, name)

    Loader.add_constructor("!function", function)
    task = yaml.load((folder / name).read_text(), Loader)
    included = task.pop("include", None)
    return {**(yaml.load((folder / included).read_text(), Loader) if included else {}), **task}


def test_tasks_ask_and_score(folder, utils, docs, tmp_path, monkeypatch):
    files = sorted(path.name for path in folder.glob("*.yaml"))
    assert files == ["vidreason_choice.yaml", "vidreason_open.yaml", "vidreason_yes_no.yaml"]
    replies = {
        "vidreason_choice": ("B", "a man", ""),
        "vidreason_yes_no": ("Yes.", "no"),
        "vidreason_open": ("Cup", "x"),
    }
    monkeypatch.setenv(utils.VIDEOS_VARIABLE, str(tmp_path))
    (tmp_path / "1001").mkdir()
    (tmp_path / "1001" / "42.mp4").touch()
    for file in files:
        task = read_task(folder, file, utils)
        assert task["output_type"] == "generate_until" and task["dataset_kwargs"] == {"load_from_disk": True}
        (doc,) = task["process_docs"](docs)
        assert task["task"] == file.removesuffix(".yaml")
        assert task["doc_to_visual"](doc) == [str(tmp_path / "1001" / "42.mp4")]
        text = task["doc_to_text"](doc, task["lmms_eval_specific_kwargs"]["default"])
        assert text.startswith(doc["question"]) and task["doc_to_target"](doc)
        results = [task["process_results"](doc, [reply]) for reply in replies[task["task"]]]
        names = [metric["metric"] for metric in task["metric_list"]]
        assert all(set(result) == set(names) for result in results)
        shown = {m["metric"]: m["aggregation"]([r[m["metric"]] for r in results]) for m in task["metric_list"]}
        json.dumps(shown)
        assert shown["accuracy"] == pytest.approx(100 / len(results))


def test_what_fools_others_fools_nobody_here(utils, docs):
    """T34 through lmms-eval: "a man" is here an option's text; "B or A" and an empty reply are wrong and counted."""
    doc = docs[0]
    assert utils.doc_to_text(doc).splitlines() == [
        "Who runs?",
        "A. a man",
        "B. a dog",
        "Answer with the option's letter from the given choices directly.",
    ]
    results = [utils.process_results(doc, [reply]) for reply in ("B", "A man jumps", "B or A", "")]
    assert [result["accuracy"] for result in results] == [1, 0, 0, 0]
    assert utils.count([result["unparsable"] for result in results]) == 3
    assert utils.by_type([result["by_type"] for result in results]) == {"T": 25.0, "TN": 25.0}


def test_missing_videos_are_named(utils, docs, tmp_path, monkeypatch):
    monkeypatch.setenv(utils.VIDEOS_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="1001/42"):
        utils.doc_to_visual(docs[0])
    monkeypatch.delenv(utils.VIDEOS_VARIABLE)
    with pytest.raises(RuntimeError, match="VIDREASON_VIDEOS"):
        utils.doc_to_visual(docs[0])
