"""Frames go out as questions and come back as rows of the guidance table, whatever happens on the way."""

import asyncio
import base64
import collections
import io
import itertools
import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vidreason.annotation import job as job_module
from vidreason.annotation import truth_guidance
from vidreason.annotation.grid import annotator
from vidreason.annotation.grid.annotator import encode_jpeg
from vidreason.annotation.grid.plan import Plan, make_plan, plan_table
from vidreason.annotation.grid.run import LLMArguments
from vidreason.annotation.job import read_run
from vidreason.errors import BudgetExceeded, ConfigError, LLMError
from vidreason.files import read_folder
from vidreason.guidance import points_to_cells
from vidreason.llm.testing.chat_faults import Faults
from vidreason.video import decode_frames, write_video


def truth_rows(world, rows, split="train", **options):
    """The truth about the frames of a table's rows."""
    frames = {(row["video_id"], row["frame_index"]): row for row in read_folder(world / "truth")[split]}
    wanted = [frames[row["video_id"], row["frame_index"]] for row in rows]
    return list(truth_guidance(wanted, **options))


def texts_of(payload) -> str:
    """All that a model is told in words."""
    parts = [part for message in payload["messages"] for part in message["content"] if isinstance(part, dict)]
    return payload["messages"][0]["content"] + " ".join(part.get("text", "") for part in parts)


def picture_of(payload) -> Image.Image:
    """The picture that a model is sent."""
    (url,) = [part["image_url"]["url"] for part in payload["messages"][1]["content"] if part["type"] == "image_url"]
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


class Watch:
    """Keeps the payloads that pass to another function."""

    def __init__(self, answer):
        self.answer, self.payloads = answer, []

    def __call__(self, payload):
        self.payloads.append(payload)
        return self.answer(payload)


@pytest.mark.parametrize("prompt", ["ucf", "ssv2", "general"])
@pytest.mark.parametrize("grid", [[4, 4], [3, 5]])
def test_a_table_of_right_answers_is_the_truth(serve, make_job, run_job, small_world, prompt, grid):
    rows = run_job(make_job(serve(), llm={"prompt": prompt, "frames_per_video": 2}, grid=grid))
    assert len(rows) == 24
    for row, truth in zip(rows, truth_rows(small_world, rows, grid=tuple(grid)), strict=True):
        for name in ("weights", "status", "video_id", "timestamp_s", "source", "split", "frame_height"):
            assert row[name] == pytest.approx(truth[name]) if name == "weights" else row[name] == truth[name]
    if prompt == "general":
        relevant = {entry["name"] for entry in truth["objects"] if entry["relevant"]}
        assert {entry["name"] for entry in row["objects"]} <= relevant


def test_pixel_centres_mark_the_cells_that_hold_them_also_in_a_smaller_picture(serve, make_job, run_job, small_world):
    llm = {"prompt": "desktop_assembly", "max_side_px": 100}
    rows = run_job(make_job(serve(), llm=llm))
    checked = 0
    for row, truth in zip(rows, truth_rows(small_world, rows), strict=True):
        centres = [entry["center"] for entry in truth["objects"] if entry["relevant"] and entry["center"]]
        at_borders = np.abs(np.asarray(centres) * 4 - np.round(np.asarray(centres) * 4)) < 0.06
        if centres and not at_borders.any():  # centres are rounded to pixels of the small picture
            checked += 1
            assert np.flatnonzero(row["weights"]).tolist() == np.flatnonzero(points_to_cells(centres, (4, 4))).tolist()
        hidden = {entry["name"] for entry in row["objects"] if not entry["relevant"]}
        assert hidden <= {entry["name"] for entry in truth["objects"] if not entry["relevant"]}
    assert checked > 10


def test_what_is_sent(serve, make_job, run_job, world_answers, small_world):
    watch = Watch(world_answers)
    llm = {"dataset_name": "Tiny Actions", "max_side_px": 80, "jpeg_quality": 95, "image_detail": "low"}
    llm["extra_body"] = '{"chat_template_kwargs": {"enable_thinking": false}}'
    rows = run_job(make_job(serve(answer=watch), llm=llm))
    assert len(watch.payloads) == len(rows) == 48
    payload = watch.payloads[0]
    label = rows[0]["video_id"].split("/")[1]
    assert label in texts_of(payload) and "Tiny Actions" in texts_of(payload)
    assert payload["model"] == "gpt-4.1-mini" and payload["temperature"] == 0.0
    assert payload["response_format"]["json_schema"]["strict"] is True
    assert payload["chat_template_kwargs"] == {"enable_thinking": False} and payload["stream"] is False
    assert payload["messages"][1]["content"][1]["image_url"]["detail"] == "low"
    assert picture_of(payload).size == (80, 60)
    frame = decode_frames(small_world / "videos" / f"{rows[0]['video_id']}.mp4", indices=[rows[0]["frame_index"]])
    expected = np.asarray(Image.fromarray(frame.frames[0]).resize((80, 60), Image.Resampling.LANCZOS), dtype=float)
    differences = [np.abs(np.asarray(picture_of(payload)) - expected).mean() for payload in watch.payloads]
    assert min(differences) < 5 < np.median(differences)  # of 255: what JPEG costs, against other pictures


def test_the_label_can_be_left_out(serve, make_job, run_job, world_answers):
    watch = Watch(world_answers)
    job = make_job(serve(answer=watch), llm={"label_in_prompt": False})
    rows = run_job(job)
    labels = {row["video_id"].split("/")[1] for row in rows}
    assert not [label for label in labels for payload in watch.payloads if label in texts_of(payload)]
    assert "was not told the action" in read_card(job)


def read_card(job) -> str:
    with open(os.path.join(job.args.out, "README.md"), encoding="utf-8") as card:
        return card.read()


def test_only_training_videos_are_annotated_unless_asked(serve, make_job, run_job):
    job = make_job(serve())
    run_job(job)
    assert set(read_folder(job.args.out)) == {"train"}
    both = make_job(serve(), out="both", splits=["train", "test"])
    assert len(run_job(both, "test")) == 12
    assert "training-time information" in read_card(job)


def test_every_fault_becomes_a_status_and_no_frame_is_lost(serve, make_job, run_job):
    faults = Faults(
        rate_limited=0.05, server_error=0.1, dropped=0.05, malformed=0.1, truncated=0.1, refused=0.1, wrong_grid=0.05,
        retry_after_s=0.05, by_attempt=False, seed=1,
    )  # fmt: skip
    server = serve(faults=faults)
    job = make_job(server)
    rows = run_job(job)
    assert len(rows) == 48 and len({(row["video_id"], row["frame_index"]) for row in rows}) == 48
    statuses = collections.Counter(row["status"] for row in rows)
    assert {"ok", "invalid", "truncated", "refused"} <= set(statuses)
    for row in rows:
        assert (sum(row["weights"]) > 0.99) == (row["status"] == "ok")
        assert row["raw_response"] or row["status"] == "empty"
    with job.producer.open(job.task()) as run:
        totals = run.store.totals()
    assert totals.outcomes["transport"] > 0
    # what the server billed is what the ledger and the table say, to the token
    assert (totals.prompt_tokens, totals.completion_tokens) == server.billed_tokens
    assert sum(row["prompt_tokens"] for row in rows) == totals.prompt_tokens
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(totals.cost_usd)


def test_a_finished_run_asks_nothing_and_writes_the_same(serve, make_job, run_job):
    server = serve()
    job = make_job(server)
    rows = run_job(job)
    asked = len(server.log)
    assert run_job(job) == rows and len(server.log) == asked == 48


def test_a_run_that_asks_nothing_keeps_the_times_of_the_one_that_did(serve, make_job, run_job, monkeypatch):
    """The times go with the totals, which count every run into the folder."""
    clock = iter(f"2026-01-0{day}T00:00:00+00:00" for day in range(1, 10))
    monkeypatch.setattr(job_module, "_now", lambda: next(clock))
    server = serve()

    def times(**llm):
        job = make_job(server, llm=llm)
        run_job(job)
        facts = read_run(job.args.out)
        return facts.started_at[:10], facts.finished_at[:10]

    stopped = {"max_cost_usd": 0.003, "write_partial": True}
    assert times(**stopped) == ("2026-01-01", "2026-01-02")
    assert times() == ("2026-01-01", "2026-01-04")  # the rest is asked
    asked = len(server.log)
    assert times() == ("2026-01-01", "2026-01-04") and len(server.log) == asked
    assert times(model="gpt-4.1") == ("2026-01-06", "2026-01-07")  # another run


def test_a_run_in_a_notebook_gives_the_same(serve, make_job, run_job):
    expected = run_job(make_job(serve()))
    job = make_job(serve(), out="notebook")

    async def cell():
        return run_job(job)

    assert asyncio.run(cell()) == expected


def test_answers_are_asked_again_when_wished(serve, make_job, run_job):
    first = serve(faults=Faults(refused=0.3, by_attempt=False))
    job = make_job(first)
    refused = [row for row in run_job(job) if row["status"] == "refused"]
    assert len(refused) > 3
    second = serve()
    again = make_job(second, llm={"retry": ["refused"]})
    with again.producer.open(again.task()) as planned:
        assert planned.store.totals().outcomes["refused"] == len(refused)
    assert run_job(make_job(second)) and not second.log  # a plan forgets nothing
    rows = run_job(make_job(second, llm={"retry": ["refused", "failed"]}))
    assert len(second.log) == len(refused)
    assert {row["status"] for row in rows} <= {"ok", "empty"}
    with pytest.raises(ConfigError, match="--retry takes any of"):
        run_job(make_job(second, llm={"retry": ["unlucky"]}))


def test_other_settings_ask_anew_and_a_touched_file_does_not(serve, make_job, run_job, small_world, tmp_path):
    world = tmp_path / "world"
    shutil.copytree(small_world, world)
    server = serve()
    run_job(make_job(server, manifest=str(world)))
    for path in (world / "videos").rglob("*.mp4"):
        os.utime(path)
    run_job(make_job(server, manifest=str(world)))
    assert len(server.log) == 48  # decoded again, but the requests are the same
    run_job(make_job(server, manifest=str(world), llm={"dataset_name": "Another"}))
    assert len(server.log) == 96
    run_job(make_job(server, manifest=str(world), llm={"dataset_name": "Another", "frames_per_video": 5}))
    assert 96 < len(server.log) <= 96 + 60


def test_a_video_that_cannot_be_read_has_a_row_that_says_so(serve, make_job, run_job, small_world, tmp_path):
    world = tmp_path / "world"
    shutil.copytree(small_world, world)
    videos = sorted((world / "videos" / "train").rglob("*.mp4"))
    videos[0].write_bytes(b"")
    videos[1].unlink()
    server = serve()
    rows = run_job(make_job(server, manifest=str(world)))
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["raw_response"] for row in failed} == {"empty_file", "missing"}
    assert len(rows) == 2 + 40 and len(server.log) == 40


@pytest.mark.unforeseen_errors
def test_an_error_that_nobody_foresaw_ends_no_more_than_its_video(serve, make_job, run_job, small_world, monkeypatch):
    table, decode = annotator.read_frame_table, annotator.decode_readable_frames
    first, second = sorted((small_world / "videos" / "train").rglob("*.mp4"))[:2]

    def fail_to_open(path):
        if path == first:
            raise ValueError(f"{path}: 29 is not a valid Type")
        return table(path)

    def fail_to_decode(path, *args):
        if path == second:
            raise KeyError("side data")
        return decode(path, *args)

    monkeypatch.setattr(annotator, "read_frame_table", fail_to_open)
    monkeypatch.setattr(annotator, "decode_readable_frames", fail_to_decode)
    rows = run_job(make_job(serve()))
    failed = Counter(row["raw_response"] for row in rows if row["status"] == "failed")
    place = first.relative_to(small_world).as_posix()  # and not where it lies on this machine
    name = next(name for name in failed if "29" in name)
    assert (
        name.startswith("unexpected_error: ValueError: ")
        and str(small_world) not in name
        and name.endswith(f"{place.removeprefix('videos/')}: 29 is not a valid Type")
    )
    assert failed == {name: 1, "unexpected_error: KeyError: 'side data'": 4}
    assert sum(row["status"] == "ok" for row in rows) == 40


def test_frames_that_look_alike_are_paid_for_once(serve, make_job, run_job, tmp_path, world_answers):
    from vidreason.manifests.manifest import manifest_row, write_manifest
    from vidreason.video import probe_video

    still = np.full((12, 48, 64, 3), 90, dtype=np.uint8)
    write_video(tmp_path / "still/a/a.mp4", still, 12)
    row = manifest_row("a/a.mp4", "a", probe_video(tmp_path / "still/a/a.mp4"))
    write_manifest(tmp_path / "still", {"train": [row]}, ["a"], "still@1", tmp_path / "still")
    server = serve(answer=lambda payload: '{"key_r": [[0, 0]]}')
    rows = run_job(make_job(server, manifest=str(tmp_path / "still")))
    assert len({row["request_hash"] for row in rows}) == len(server.log) < len(rows) == 4
    assert sum(row["prompt_tokens"] for row in rows) == server.billed_tokens[0]
    assert all(row["weights"][0] == 1 for row in rows)


def test_samples_of_a_frame_are_merged(serve, make_job, run_job):
    answers = itertools.cycle(['{"key_r": [[0, 0]]}', '{"key_r": [[0, 1]]}', '{"key_r": [[0, 0]]}'])
    server = serve(answer=lambda payload: next(answers))
    llm = {"samples_per_frame": 3, "temperature": 1.0, "frames_per_video": 1, "video_share": 0.01, "max_in_flight": 1}
    rows = run_job(make_job(server, llm=llm, splits=["test"]), "test")
    assert len(rows) == 3 and len(server.log) == 9
    for row in rows:
        assert row["weights"][:2] == pytest.approx([2 / 3, 1 / 3])
        assert row["producer"] == "llm" and len(json.loads(row["raw_response"])["merged"]) == 3
    assert sum(row["prompt_tokens"] for row in rows) == server.billed_tokens[0]
    with pytest.raises(ConfigError, match="wants a temperature above 0"):
        run_job(make_job(server, llm={"samples_per_frame": 3}))


def test_the_cap_is_never_exceeded_and_the_run_goes_on_with_more_money(serve, make_job, run_job):
    server = serve(latency_s=0.02)
    job = make_job(server, llm={"max_cost_usd": 0.003})
    with pytest.raises(BudgetExceeded):
        job.run(progress=False)
    with job.producer.open(job.task()) as run:
        spent = run.store.totals()
    assert 0 < spent.cost_usd <= 0.003
    assert (spent.prompt_tokens, spent.completion_tokens) == server.billed_tokens
    asked = len(server.log)
    assert 0 < asked < 48
    with pytest.raises(BudgetExceeded):  # the cap is for all runs together
        job.run(progress=False)
    assert len(server.log) == asked
    rows = run_job(make_job(server, llm={"max_cost_usd": 1.0}))
    assert len(server.log) == len(rows) == 48


def test_a_model_that_cannot_do_it_is_found_out_early(serve, make_job, run_job):
    server = serve(answer=lambda payload: "It is a nice picture.")
    job = make_job(server, llm={"max_useless": 10, "max_in_flight": 2})
    with pytest.raises(LLMError, match=r"none of the first 10 answers can be used \(10 invalid\)"):
        job.run(progress=False)
    assert 20 <= len(server.log) < 40  # two attempts each
    better = serve()
    rows = run_job(make_job(better, llm={"retry": ["invalid"]}))
    assert {row["status"] for row in rows} <= {"ok", "empty"} and len(better.log) == 48
    rows = run_job(make_job(server, out="regardless", llm={"max_useless": 0}))
    assert {row["status"] for row in rows} == {"invalid"} and len(rows) == 48


def test_a_partial_table_names_what_was_not_asked(serve, make_job, run_job):
    server = serve()
    job = make_job(server, llm={"max_cost_usd": 0.003, "write_partial": True})
    rows = run_job(job)
    unasked = [row for row in rows if row["raw_response"] == "not asked"]
    assert len([row for row in rows if row["status"] == "ok"]) > 5 and unasked
    assert [(row["video_id"], row["frame_index"]) for row in rows] == [
        (row["video_id"], row["frame_index"]) for row in run_job(make_job(serve(), out="whole"))
    ]
    assert {row["status"] for row in unasked} == {"failed"}
    assert len({row["video_id"] for row in rows}) == 12
    assert "stopped before its end" in read_card(job)


def test_a_wrong_key_ends_the_run_and_shows_nowhere(serve, make_job, key, caplog, tmp_path):
    server = serve(api_key="another")
    with pytest.raises(LLMError) as caught:
        make_job(server).run(progress=False)
    assert "401" in str(caught.value)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert written and key.encode() not in written
    assert key not in str(caught.value) and key not in caplog.text


def test_no_key_shows_in_what_a_run_leaves_behind(serve, make_job, run_job, key, tmp_path, capfd):
    job = make_job(serve(faults=Faults(server_error=0.2, dropped=0.1)))
    run_job(job)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) > 10_000 and key.encode() not in written
    assert key not in "".join(capfd.readouterr())


def test_the_plan_says_what_the_run_then_does(serve, make_job, run_job):
    server = serve()
    job = make_job(server, splits=["train", "test"])
    with job.producer.open(job.task()) as run:
        plans = make_plan(run.annotator, run.price)
    assert not server.log
    rows = [len(run_job(job, split)) for split in ("train", "test")]
    assert [plans[split].frames for split in ("train", "test")] == rows
    with job.producer.open(job.task()) as run:
        totals = run.store.totals()
        assert list(run.annotator.questions()) == []
    total = sum(plans.values(), Plan())
    assert total.requests == totals.requests and total.prompt_tokens == totals.estimated_prompt_tokens
    assert totals.cost_usd < total.max_cost_usd and total.cost_usd < total.max_cost_usd
    lines = plan_table(plans).splitlines()
    assert [line.split()[0] for line in lines] == ["split", "train", "test", "all"]
    with job.producer.open(job.task()) as run:
        half = make_plan(run.annotator, run.price, batch=True)
    assert sum(half.values(), Plan()).cost_usd == pytest.approx(total.cost_usd / 2)


def test_a_run_by_batch_jobs_gives_the_same_table(serve, make_job, run_job):
    online = run_job(make_job(serve()))
    server = serve()
    job = make_job(server, out="batch", llm={"batch": True, "batch_poll_s": 0.05})
    batch = run_job(job)
    different = ("cost_usd",)
    assert [{k: v for k, v in row.items() if k not in different} for row in batch] == [
        {k: v for k, v in row.items() if k not in different} for row in online
    ]
    assert sum(row["cost_usd"] for row in batch) == pytest.approx(sum(row["cost_usd"] for row in online) / 2)
    assert {entry.channel for entry in server.log} == {"batch"}
    assert (server.stats()["batches"], len(server.log)) == (1, 48)


@pytest.mark.parametrize(
    ("llm", "message"),
    [
        ({"policy": "everything"}, "everything"),
        ({"prompt": "missing.txt"}, "missing.txt"),
        ({"image_detail": "huge"}, "image_detail is 'huge'"),
        ({"jpeg_quality": 0}, "jpeg_quality is 0"),
        ({"max_side_px": 4}, "max_side_px is 4"),
        ({"price_usd": [1.0]}, "--price_usd takes dollars"),
        ({"price_usd": [1.0, float("nan")]}, "--price_usd takes dollars"),
        ({"video_share": 0.0}, "video_share"),
        ({"samples_per_frame": 0}, "at least 1"),
        ({"extra_body": "enable_thinking=false"}, "extra_body must be a JSON object, got 'enable_thinking=false'"),
        ({"extra_body": "[1]"}, "it is no object"),
        ({"extra_body": '{"n": 8, "max_tokens": 100000}'}, "must not hold max_tokens, n"),
    ],
)
def test_settings_that_cannot_be_used_are_named(make_job, llm, message):
    with pytest.raises(ConfigError, match=message):
        make_job(None, llm=llm).run(progress=False)


def test_own_prices_are_used(monkeypatch):
    price = LLMArguments(price_usd=[1.0, 2.0]).price()
    assert (price.input_usd, price.output_usd) == (1.0, 2.0)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match=r"my-model.*--price_usd INPUT OUTPUT"):
        LLMArguments(model="my-model").price()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    assert LLMArguments(model="my-model").price().output_usd == 0
    # with a price of nothing, which nobody gave, a cap would never be reached
    with pytest.raises(ConfigError, match=r"'my-model'.* a cap on the cost needs it.* 0 0 where it is free"):
        LLMArguments(model="my-model", max_cost_usd=1.0).price()
    assert LLMArguments(model="my-model", max_cost_usd=1.0, price_usd=[0.0, 0.0]).price().output_usd == 0
    assert LLMArguments(model="gpt-4.1-mini", max_cost_usd=1.0).price().output_usd == 1.6


def test_a_frame_keeps_its_shape_as_a_jpeg():
    ramp = np.linspace(0, 255, 90 * 160).reshape(90, 160, 1).repeat(3, axis=2).astype(np.uint8)
    jpeg, size = encode_jpeg(ramp, None, 90)
    assert size == (90, 160)
    decoded = np.asarray(Image.open(io.BytesIO(jpeg)), dtype=float)
    assert np.abs(decoded - ramp).mean() < 2
    assert encode_jpeg(ramp, 80, 90)[1] == (45, 80)
    assert encode_jpeg(ramp, 1000, 90)[1] == (90, 160)  # never scaled up


def test_a_journal_of_an_earlier_version_is_known_again(make_job):
    """The text that goes into a video's fingerprint, as version 0.1.0 wrote it: with another one, a run that goes on
    decodes every video again."""
    job = make_job(None)
    with job.producer.open(job.task()) as run:
        sha256 = run.annotator.prompt.sha256
        assert run.annotator._settings_text == (
            '[{"dataset_name": "", "grid": [4, 4], "image_detail": "auto", "jpeg_quality": 90, '
            '"label_in_prompt": true, "max_completion_tokens": 300, "max_side_px": null, "model": "gpt-4.1-mini", '
            f'"samples_per_frame": 1, "structured": true, "temperature": 0.0}}, "{sha256}", '
            '"4 uniform frames of every video"]'
        )
