"""A published table of questions: known by its columns, told with types, steps and the licence of its source."""

import re
import sys

import datasets
import pytest
import yaml

from datasets_scripts import publish as publish_script
from vidreason.errors import GuidanceError
from vidreason.publishing.guidance_folder import PublishSettings, publish_folder
from vidreason.publishing.table_kinds import KINDS
from vidreason.videoqa.question_kind import QUESTIONS
from vidreason.videoqa.schema import QUESTION_FEATURES
from vidreason.videoqa.tables import question_row, write_questions


def rows(**fields):
    key = {"source": "star@1.0", "split": "val", "producer": "benchmark", "video_id": "ABCDE"}
    choice = {"answer_format": "choice", "options": ["The cup.", "The | book."], "answer_index": 1}
    common = {**key, **choice, "question": "Which object was taken?"}
    return [
        question_row(
            **{
                **common,
                "question_id": "Interaction_T1_1",
                "question_type": "Interaction_T1",
                "num_steps": 1,
                **fields,
            }
        ),
        question_row(**common, question_id="Sequence_T1_1", question_type="Sequence_T1", start_s=1.5, end_s=3.0),
    ]


def publish(folder, made, **settings):
    table = write_questions(folder / "table", {"val": made})
    out = folder / "org" / "name"
    return publish_folder(table, out, PublishSettings(repo_id="org/name", **settings), kinds=(QUESTIONS, *KINDS))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("questions"), rows(), license="apache-2.0")


def test_it_is_told_as_what_it_is(published):
    assert sorted(published.files) == ["README.md", "data/val-00000-of-00001.parquet"]
    assert (published.num_rows, published.message) == (2, "2 rows of questions")
    card = (published.folder / "README.md").read_text()
    facts = yaml.safe_load(card.split("---")[1])
    assert facts["license"] == "apache-2.0" and "video-question-answering" in facts["tags"]
    assert "annotations_creators" not in facts  # people made some benchmarks, and programs others
    assert "star@1.0 (STAR; https://github.com/csbobby/STAR_Benchmark; licence of its questions: apache-2.0)" in card
    assert "|  | Interaction_T1 | choice | 1 |" in card and "| 1 | 1 |" in card and "| not known | 1 |" in card
    assert "| val | 2 | 1 | 2 |" in card and "## Prompts" not in card
    table = datasets.load_dataset(str(published.folder))["val"]
    assert table.features == QUESTION_FEATURES
    assert list(table) == rows()


def test_the_code_on_the_card_runs_as_it_stands(published, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (published.folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(published.folder.parents[1])
    exec(compile(code, "card", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "ABCDE 1.5 3.0 Which object was taken? ['The cup.', 'The | book.'] The | book."


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"program": "see /home/someone/graphs"}, "column 'program' holds a path of this machine"),
        ({"options": ["file://x", "The | book."]}, "column 'options' holds a path of this machine"),
        ({"video_id": "../ABCDE"}, "not a path relative to the folder of videos"),
    ],
)
def test_what_must_not_be_published_is_not(tmp_path, fields, words):
    with pytest.raises(GuidanceError, match=words):
        publish(tmp_path, rows(**fields))
    assert not (tmp_path / "org").exists() or not any((tmp_path / "org").iterdir())


def test_the_script_takes_a_table_of_questions(tmp_path, monkeypatch, capsys):
    write_questions(tmp_path / "table", {"val": rows()})
    flags = ["--table", tmp_path / "table", "--out", tmp_path / "out", "--license", "apache-2.0"]
    monkeypatch.setattr(sys, "argv", ["publish.py", *map(str, flags)])
    assert publish_script.main() == 0
    output = capsys.readouterr().out
    assert "2 rows" in output and "nothing was sent" in output
