"""The way of an answer from a frame to its row is short, and the answer is read once on it."""

from collections import Counter
from pathlib import Path

import pytest
from fixtures.file_entries import FileEntries

from vidreason.annotation.grid import annotator

STAND_INS = ("vidreason/llm/testing/", "vidreason/synthetic/")  # the server, in a thread that may start inside


@pytest.fixture
def readings(monkeypatch) -> Counter:
    """How often each text was read, and how many rows were made of answers."""
    counted: Counter = Counter()
    read_answer, answer_row = annotator.read_answer, annotator.answer_row

    def counting_read(text, *settings):
        counted["read", text, settings] += 1
        counted["read"] += 1
        return read_answer(text, *settings)

    def counting_row(*settings):
        counted["rows"] += 1
        return answer_row(*settings)

    monkeypatch.setattr(annotator, "read_answer", counting_read)
    monkeypatch.setattr(annotator, "answer_row", counting_row)
    return counted


def test_a_job_passes_few_files(serve, make_job, repository):
    # once before: what is made at a first use, such as a table of frames, is not on the way of an answer
    make_job(serve(), out="first", llm={"frames_per_video": 2}).run(progress=False)
    job = make_job(serve(), llm={"frames_per_video": 2})
    with FileEntries(Path(repository)) as entries:
        job.run(progress=False)
    files = sorted(name for name in entries.files if not name.startswith(STAND_INS))
    assert len(files) < 19, "\n".join(files)
    own = [name for name in files if name.startswith(("vidreason/llm/", "vidreason/annotation/"))]
    assert len(own) <= 12, own  # one of them reads what servers send, for requests and batches alike


def test_an_answer_is_read_once_and_made_a_row_in_one_place(serve, make_job, run_job, readings):
    server = serve()
    rows = run_job(make_job(server))
    assert len(rows) == 48 and {row["status"] for row in rows} <= {"ok", "empty"}
    assert readings["read"] == len({row["request_hash"] for row in rows}) == len(server.log)
    assert readings["rows"] == len(rows)


def test_answers_of_an_earlier_run_are_read_once_too(serve, make_job, run_job, readings):
    job = make_job(serve())
    rows = run_job(job)
    readings.clear()
    assert run_job(job) == rows
    assert readings["read"] == readings["rows"] == len(rows)


def test_readings_that_do_not_fit_are_made_again(serve, make_job, run_job, readings, monkeypatch):
    expected = run_job(make_job(serve(), out="fits"))
    readings.clear()
    monkeypatch.setattr(annotator, "_MAX_READINGS", 8)
    assert run_job(make_job(serve())) == expected
    assert readings["read"] == 48 + 40


def test_batch_jobs_read_an_answer_once(serve, make_job, run_job, readings):
    run_job(make_job(serve(), llm={"batch": True, "batch_poll_s": 0.05}))
    assert readings["read"] == readings["rows"] == 48
