"""Files and batch jobs of the server, as seen by OpenAI's own client: they keep to the API and go wrong as told."""

import json
import time

import openai
import pytest

from vidreason.llm.testing.chat_batches import BatchLimits
from vidreason.llm.testing.chat_faults import BatchFaults, Faults
from vidreason.llm.testing.chat_server import ChatServer


def echo(payload):
    """An answer that tells requests apart."""
    return json.dumps({"key_r": [[0, 1]], "asked": payload["messages"][-1]["content"]})


def client_of(server):
    return openai.OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=20)


def lines_of(count, **changes):
    for number in range(count):
        body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": f"{number}"}]}
        line = {"custom_id": f"id-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        yield json.dumps(line | changes)


def upload(client, lines):
    return client.files.create(file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch")


def create(client, lines, **options):
    file = upload(client, lines)
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **options
    )


def finish(client, batch):
    for _ in range(400):
        batch = client.batches.retrieve(batch.id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        time.sleep(0.02)
    raise AssertionError(f"the batch is still {batch.status}")


def read(client, file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()] if file_id else []


def run_batch(lines, limits=None, faults=None):
    with ChatServer(echo, batch_faults=faults, batch_limits=limits) as server:
        client = client_of(server)
        batch = finish(client, create(client, lines))
        return batch, read(client, batch.output_file_id), read(client, batch.error_file_id), server


def test_a_batch_runs_through_its_states_and_answers_every_line():
    with ChatServer(echo, batch_latency_s=0.6) as server:
        client = client_of(server)
        batch = create(client, lines_of(40), metadata={"mine": "yes"})
        assert batch.status == "validating"
        time.sleep(0.45)
        assert client.batches.retrieve(batch.id).status == "in_progress"
        batch = finish(client, batch)
        output = read(client, batch.output_file_id)
        assert [found.id for found in client.batches.list() if found.metadata == {"mine": "yes"}] == [batch.id]
    assert batch.status == "completed" and batch.error_file_id is None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (40, 40, 0)
    asked = {
        line["custom_id"]: json.loads(line["response"]["body"]["choices"][0]["message"]["content"])["asked"]
        for line in output
    }
    assert asked == {f"id-{number}": f"{number}" for number in range(40)}
    assert [line["custom_id"] for line in output] != sorted(asked, key=lambda name: int(name[3:]))
    assert {line["response"]["status_code"] for line in output} == {200}
    assert {entry.channel for entry in server.log} == {"batch"}


@pytest.mark.parametrize(
    ("lines", "limits", "code"),
    [
        (["{"], None, "invalid_json_line"),
        ([*lines_of(1), *lines_of(1)], None, "duplicate_custom_id"),
        (lines_of(1, url="/v1/embeddings"), None, "mismatched_endpoint"),
        (lines_of(1, body=None), None, "missing_required_parameter"),
        ([], None, "empty_file"),
        (lines_of(3), BatchLimits(max_requests=2), "too_many_tasks"),
        (lines_of(3), BatchLimits(max_enqueued_tokens=5), "token_limit_exceeded"),
        ([*lines_of(1), *lines_of(1, custom_id="b", body={"model": "b", "messages": []})], None, "mismatched_model"),
    ],
)
def test_files_that_fail_validation(lines, limits, code):
    batch, output, errors, server = run_batch(lines, limits)
    assert batch.status == "failed" and batch.errors.data[0].code == code
    assert output == errors == server.log == []


def test_files_over_the_limit_are_refused():
    with ChatServer(echo, batch_limits=BatchLimits(max_bytes=100)) as server:
        client = client_of(server)
        with pytest.raises(openai.BadRequestError, match="too large"):
            upload(client, lines_of(5))
        assert list(client.files.list()) == []


def test_files_are_listed_page_by_page_and_deleted():
    with ChatServer(echo) as server:
        client = client_of(server)
        files = [upload(client, lines_of(1)) for _ in range(5)]
        assert [file.id for file in client.files.list(limit=2)] == [file.id for file in files[::-1]]
        client.files.delete(files[0].id)
        assert files[0].id not in [file.id for file in client.files.list()]
        with pytest.raises(openai.NotFoundError):
            client.files.content(files[0].id)


def test_a_queue_has_room_again_when_a_job_is_over():
    limits = BatchLimits(max_enqueued_tokens=60)
    with ChatServer(echo, batch_limits=limits, batch_latency_s=0.3) as server:
        client = client_of(server)
        first, second = create(client, lines_of(10)), create(client, lines_of(10))
        assert finish(client, second).errors.data[0].code == "token_limit_exceeded"
        assert finish(client, first).status == "completed"
        assert finish(client, create(client, lines_of(10))).status == "completed"


def test_lines_that_are_lost_doubled_or_fail():
    faults = BatchFaults(error_lines=0.2, missing_lines=0.2, duplicated_lines=0.2)
    batch, output, errors, server = run_batch(lines_of(100), faults=faults)
    assert batch.status == "completed"
    ids = [line["custom_id"] for line in output]
    failed = {line["custom_id"] for line in errors}
    assert len(ids) > len(set(ids)) and len(set(ids) | failed) < 100 and not set(ids) & failed
    assert failed and {line["response"]["status_code"] for line in errors} == {500}
    # what is lost was answered and billed
    assert server.outcomes == {"ok": 100 - len(failed)}
    assert (batch.request_counts.completed, batch.request_counts.failed) == (100 - len(failed), len(failed))


@pytest.mark.parametrize(
    ("fault", "num_answered", "num_errors"), [("expired", 5, 5), ("cancelled", 5, 0), ("partial", 5, 5)]
)
def test_jobs_that_end_half_way(fault, num_answered, num_errors):
    batch, output, errors, server = run_batch(lines_of(10), faults=BatchFaults(script=[fault]))
    assert batch.status == {"partial": "completed"}.get(fault, fault)
    assert (len(output), len(errors), len(server.log)) == (num_answered, num_errors, 5)
    if fault == "expired":
        assert {line["error"]["code"] for line in errors} == {"batch_expired"}
        assert {line["response"] for line in errors} == {None}


def test_jobs_that_fail_by_script_and_go_well_after_that():
    with ChatServer(echo, batch_faults=BatchFaults(script=["failed_validation", None])) as server:
        client = client_of(server)
        assert finish(client, create(client, lines_of(2))).status == "failed"
        assert finish(client, create(client, lines_of(2))).status == "completed"


def test_a_job_is_cancelled_by_its_owner():
    with ChatServer(echo, batch_latency_s=0.4) as server:
        client = client_of(server)
        batch = create(client, lines_of(4))
        assert client.batches.cancel(batch.id).status == "cancelling"
        assert finish(client, batch).status == "cancelled"
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(batch.id)
    assert server.log == []


def test_what_the_model_says_is_spoilt_in_batches_too():
    with ChatServer(echo, faults=Faults(truncated=1.0)) as server:
        client = client_of(server)
        batch = finish(client, create(client, lines_of(4)))
        lines = read(client, batch.output_file_id)
    assert {line["response"]["body"]["choices"][0]["finish_reason"] for line in lines} == {"length"}


def test_the_news_of_a_creation_is_lost():
    with ChatServer(echo, batch_faults=BatchFaults(script=["lost_creation"])) as server:
        client = client_of(server)
        with pytest.raises(openai.APIConnectionError):
            create(client, lines_of(2))
        (batch,) = client.batches.list()
        assert finish(client, batch).request_counts.completed == 2
