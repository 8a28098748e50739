"""Results on disk: what is written, and that nothing foreign or half-written is taken for a result."""

import json

import pytest
from fixtures.fake_runs import fake_metrics, fake_record

from vidreason.errors import ConfigError
from vidreason.study.records import copy_study, read_results, record_path, settings_sha256, write_record


@pytest.fixture
def study(make_study):
    return make_study()


@pytest.fixture
def run(study):
    return study.runs()[0]


@pytest.fixture
def record(run):
    return fake_record(run, {"test": fake_metrics(0.5)})


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_record_is_read_back_as_it_was_written(study, run, record, tmp_path):
    path = record_path(tmp_path, run)
    write_record(path, record)
    assert read_results(study, tmp_path) == {"none-unused-50-seed0": record}
    assert [file.name for file in path.parent.iterdir()] == ["none-unused-50-seed0.json"]
    assert record["values"] == {"supervision": "none", "guidance": "unused", "share": "50"}


def test_a_hash_does_not_depend_on_the_order_of_settings():
    assert settings_sha256({"a": 1, "b": {"c": 2, "d": 3}}) == settings_sha256({"b": {"d": 3, "c": 2}, "a": 1})
    assert settings_sha256({"a": 1}) != settings_sha256({"a": 2})


def test_a_record_is_not_overwritten(run, record, tmp_path):
    path = record_path(tmp_path, run)
    write_record(path, record)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"seed0\.json has appeared"):
        write_record(path, {**record, "metrics": {}})
    assert path.read_bytes() == before


def test_a_record_with_numbers_that_are_none_is_not_written(run, record, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(record_path(tmp_path, run), {**record, "metrics": {"test": {"top1": float("nan")}}})
    assert not list(record_path(tmp_path, run).parent.iterdir())


def test_a_half_written_record_is_named(study, run, record, tmp_path):
    write_record(record_path(tmp_path, run), record)
    partial = record_path(tmp_path, study.runs()[1]).with_suffix(".json.partial")
    partial.write_text('{"kind"')
    with pytest.raises(ConfigError, match=r"seed1\.json\.partial is half-written"):
        read_results(study, tmp_path)
    assert list(read_results(study, tmp_path, lambda run: run.seed == 1)) == [run.name]  # somebody is at it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "something else"}, "no record of a study's run"),
        ({"study": "another"}, "is of the study 'another', not of 'small'"),
        ({"seed": 1}, "not of the run that its name says"),
        ({"settings": {}}, "was changed by hand"),
    ],
)
def test_a_foreign_record_is_named(study, run, record, tmp_path, changes, message):
    path = record_path(tmp_path, run)
    write_record(path, {**record, **changes})
    with pytest.raises(ConfigError, match=message) as error:
        read_results(study, tmp_path)
    assert str(path) in str(error.value)


def test_a_record_of_other_settings_is_named_with_what_differs(make_study, record, run, tmp_path):
    write_record(record_path(tmp_path, run), record)
    other = make_study({"learning_rate": 0.5})
    with pytest.raises(ConfigError, match=r"other settings: recipe\.learning_rate is 0\.001, not 0\.5"):
        read_results(other, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"kind": "vidreason study run"}', "\x80"])
def test_a_broken_record_is_named(study, run, tmp_path, text):
    path = record_path(tmp_path, run)
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"is broken|no record"):
        read_results(study, tmp_path)
    assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("name", ["both-noisy-100-seed9.json", "none-unused-50-seed0.txt", "notes.json"])
def test_a_stray_file_is_named(study, tmp_path, name):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / name).write_text("{}")
    with pytest.raises(ConfigError, match="is no run of the study 'small'"):
        read_results(study, tmp_path)


def test_the_study_and_its_recipe_are_kept_beside_the_results(make_study, tmp_path):
    study = make_study()
    copy_study(study, tmp_path / "out")
    assert (tmp_path / "out" / "study.yaml").read_text() == study.path.read_text()
    assert (tmp_path / "out" / "recipe.yaml").read_text() == study.recipe_path.read_text()
    copy_study(make_study(title="A better title"), tmp_path / "out")
    assert "A better title" in (tmp_path / "out" / "study.yaml").read_text()


def test_the_folder_of_another_study_is_left_alone(make_study, tmp_path):
    copy_study(make_study(), tmp_path / "out")
    before = (tmp_path / "out" / "study.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"out/study\.yaml is of another study"):
        copy_study(make_study(name="other"), tmp_path / "out")
    assert (tmp_path / "out" / "study.yaml").read_bytes() == before


def test_results_of_nobody_knows_what_are_left_alone(study, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"no study\.yaml says of what"):
        copy_study(study, tmp_path)
    assert not (tmp_path / "study.yaml").exists()
