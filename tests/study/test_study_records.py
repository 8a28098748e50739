"""Results on disk: what is written, and that nothing foreign or half-written is taken for a result."""

import json
import multiprocessing

import pytest
from fixtures.fake_runs import fake_metrics, fake_record
from fixtures.small_studies import as_version_0_1_0, change_record

from vidreason.errors import ConfigError
from vidreason.study.records import RECORDS_FILE, add_record, copy_study, read_records, read_results, settings_sha256


@pytest.fixture
def study(make_study):
    return make_study()


@pytest.fixture
def run(study):
    return study.runs()[0]


@pytest.fixture
def record(run):
    return fake_record(run, {"test": fake_metrics(0.5)})


def test_a_record_is_read_back_as_it_was_written(study, run, record, tmp_path):
    add_record(tmp_path, record)
    assert read_results(study, tmp_path) == {"none-unused-50-seed0": record}
    assert record["values"] == {"supervision": "none", "guidance": "unused", "share": "50"}


def test_a_file_has_a_line_for_each_run_sorted_by_name(study, tmp_path):
    runs = study.runs()
    for run in reversed(runs):
        add_record(tmp_path, fake_record(run, {"test": fake_metrics(0.1 * run.seed)}))
    lines = (tmp_path / RECORDS_FILE).read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines] == sorted(run.name for run in runs)


def test_texts_that_other_formats_break_lines_at_stay_whole(run, record, tmp_path):
    odd = {**record, "note": "a\u2028b\nc"}
    add_record(tmp_path, odd)
    assert [stored.record for stored in read_records(tmp_path)] == [odd]


def add_all(out, records):
    for record in records:
        add_record(out, record)


def test_processes_that_finish_at_once_lose_no_record(study, tmp_path):
    records = [fake_record(run, {"test": fake_metrics(0.5)}) for run in study.runs()]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=add_all, args=(tmp_path, records[place::5])) for place in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 5
    assert len(read_results(study, tmp_path)) == 15


def test_a_hash_does_not_depend_on_the_order_of_settings():
    assert settings_sha256({"a": 1, "b": {"c": 2, "d": 3}}) == settings_sha256({"b": {"d": 3, "c": 2}, "a": 1})
    assert settings_sha256({"a": 1}) != settings_sha256({"a": 2})


@pytest.mark.parametrize("old", [False, True])
def test_a_record_is_not_overwritten(record, tmp_path, old):
    add_record(tmp_path, record)
    if old:
        as_version_0_1_0(tmp_path)
    before = [stored.record for stored in read_records(tmp_path)]
    with pytest.raises(ConfigError, match=r"has appeared while the run none-unused-50-seed0 was made"):
        add_record(tmp_path, {**record, "metrics": {}})
    assert [stored.record for stored in read_records(tmp_path)] == before


def test_a_record_with_numbers_that_are_none_is_not_written(record, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        add_record(tmp_path, {**record, "metrics": {"test": {"top1": float("nan")}}})
    assert not (tmp_path / RECORDS_FILE).exists()


def test_what_a_killed_process_was_writing_is_no_result(study, run, record, tmp_path):
    add_record(tmp_path, record)
    (tmp_path / f"{RECORDS_FILE}.partial").write_text('{"kind"')
    assert list(read_results(study, tmp_path)) == [run.name]
    second = fake_record(study.runs()[1], {"test": fake_metrics(0.5)})
    add_record(tmp_path, second)
    assert read_results(study, tmp_path) == {run.name: record, second["run"]: second}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "something else"}, "no record of a study's run"),
        ({"study": "another"}, "is of the study 'another', not of 'small'"),
        ({"seed": 1}, "not of the run that its name says"),
        ({"settings": {}}, "was changed by hand"),
        ({"run": "both-noisy-100-seed9"}, "is no run of the study 'small'"),
    ],
)
def test_a_foreign_record_is_named(study, record, tmp_path, changes, message):
    add_record(tmp_path, {**record, **changes})
    with pytest.raises(ConfigError, match=message) as error:
        read_results(study, tmp_path)
    assert f"{tmp_path / RECORDS_FILE}, line 1" in str(error.value)


def test_a_record_of_other_settings_is_named_with_what_differs(make_study, record, tmp_path):
    add_record(tmp_path, record)
    other = make_study({"learning_rate": 0.5})
    with pytest.raises(ConfigError, match=r"other settings: recipe\.learning_rate is 0\.001, not 0\.5"):
        read_results(other, tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", '{"kind": "vidreason study run"}', "\x80"])
def test_a_broken_record_is_named_and_left_as_it_is(study, record, tmp_path, text):
    add_record(tmp_path, record)
    path = tmp_path / RECORDS_FILE
    path.write_bytes(path.read_bytes() + text.encode("latin-1"))
    broken = path.read_bytes()
    with pytest.raises(ConfigError, match=r"records\.jsonl, line 2 is broken|line 2 is no record"):
        read_results(study, tmp_path)
    with pytest.raises(ConfigError, match="line 2"):
        add_record(tmp_path, fake_record(study.runs()[1], {"test": fake_metrics(0.5)}))
    assert path.read_bytes() == broken


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


@pytest.mark.parametrize("name", ["records.jsonl", "runs/a.json"])
def test_results_of_nobody_knows_what_are_left_alone(study, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=r"no study\.yaml says of what"):
        copy_study(study, tmp_path)
    assert not (tmp_path / "study.yaml").exists()


# Results of version 0.1.0


def test_results_of_version_0_1_0_are_read_and_added_to(study, tmp_path):
    records = {run.name: fake_record(run, {"test": fake_metrics(0.5)}) for run in study.runs()[:3]}
    first, second, third = records.values()
    add_all(tmp_path, [first, second])
    as_version_0_1_0(tmp_path)
    assert read_results(study, tmp_path) == {first["run"]: first, second["run"]: second}
    add_record(tmp_path, third)
    assert read_results(study, tmp_path) == records


def test_a_run_that_both_forms_have_is_named(study, record, tmp_path):
    add_record(tmp_path, record)
    as_version_0_1_0(tmp_path)
    (tmp_path / RECORDS_FILE).write_text(json.dumps(record) + "\n")
    with pytest.raises(ConfigError, match=r"seed0\.json is of a run that .*records\.jsonl, line 1 is of"):
        read_results(study, tmp_path)


def test_a_half_written_file_of_version_0_1_0_is_named(study, record, tmp_path):
    add_record(tmp_path, record)
    as_version_0_1_0(tmp_path)
    (tmp_path / "runs" / "none-unused-50-seed1.json.partial").write_text('{"kind"')
    with pytest.raises(ConfigError, match=r"seed1\.json\.partial is half-written"):
        read_results(study, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("both-noisy-100-seed9.json", "is no run of the study 'small'"),
        ("notes.json", "is no run of the study 'small'"),
        ("none-unused-50-seed0.txt", "is no record of a run"),
        ("none-unused-50-seed0.json", "no record of a study's run"),
    ],
)
def test_a_stray_file_is_named(study, tmp_path, name, message):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / name).write_text("{}")
    with pytest.raises(ConfigError, match=message) as error:
        read_results(study, tmp_path)
    assert name in str(error.value)


def test_a_file_under_another_runs_name_is_named(study, record, tmp_path):
    add_record(tmp_path, record)
    as_version_0_1_0(tmp_path)
    runs = tmp_path / "runs"
    (runs / "none-unused-50-seed0.json").rename(runs / "none-unused-50-seed1.json")
    with pytest.raises(
        ConfigError, match="is the record of 'none-unused-50-seed0', not of the run that its name says"
    ):
        read_results(study, tmp_path)


def test_a_changed_record_is_told(study, record, tmp_path):
    add_record(tmp_path, record)
    change_record(tmp_path, record["run"], settings={**record["settings"], "train_share": 0.1})
    with pytest.raises(ConfigError, match="was changed by hand"):
        read_results(study, tmp_path)
