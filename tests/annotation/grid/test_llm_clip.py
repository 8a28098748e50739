"""Asking about one clip with a key that is brought along: price, cap, rows, and where the key does not go."""

import json
import logging
from collections import Counter

import numpy as np
import pytest

from vidreason.annotation.grid.clip import ask_about_clip, plan_clip
from vidreason.errors import LLMError
from vidreason.guidance import check_row
from vidreason.llm.testing.chat_faults import Faults
from vidreason.llm.testing.chat_server import ChatServer

KEY = "visitor-brings-this-key-1234"
MODEL = "gpt-4.1-mini"
ANSWER = '{"important_objects": ["hand"], "localization": [{"name": "hand", "cells": [[1, 2], [2, 2]]}]}'


def pictures(count, size=(96, 128)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(count)]


def keys(count):
    same = {"video_id": "clip", "source": "upload", "split": "upload", "frame_height": 96, "frame_width": 128}
    return [{**same, "frame_index": number, "timestamp_s": number / 2} for number in range(count)]


def ask(server, count=3, plan=None, api_key=KEY):
    plan = plan or plan_clip(count, (96, 128), MODEL, server.url)
    return ask_about_clip(pictures(count), keys(count), plan, api_key, server.url, timeout_s=10)


def test_every_picture_gets_a_row_with_the_cells_that_were_named():
    with ChatServer(lambda payload: ANSWER, api_key=KEY) as server:
        rows = ask(server)
    for number, row in enumerate(rows):
        check_row(row)
        assert (row["producer"], row["status"], row["model"]) == ("llm", "ok", MODEL)
        assert (row["frame_index"], row["timestamp_s"]) == (number, number / 2)
        assert np.flatnonzero(row["weights"]).tolist() == [6, 10] and row["prompt_id"] == "general-1"
        assert [entry["name"] for entry in row["objects"]] == ["hand"]
    assert len(server.log) == 3 and KEY not in json.dumps(rows)


def test_the_model_is_not_told_what_happens_in_the_clip():
    received = []
    with ChatServer(lambda payload: received.append(payload) or ANSWER) as server:
        ask(server, 1)
    text = json.dumps(received[0]["messages"][:1]) + received[0]["messages"][1]["content"][0]["text"]
    assert "The action at this moment" not in text and "4 rows and 4 columns" in text


def test_the_price_is_known_before_and_holds():
    plan = plan_clip(3, (96, 128), MODEL)
    with ChatServer(lambda payload: ANSWER, api_key=KEY) as server:
        rows = ask(server, 3, plan)
        prompt_tokens, completion_tokens = server.billed_tokens
    billed = sum(row["cost_usd"] for row in rows)
    assert billed == pytest.approx((0.4 * prompt_tokens + 1.6 * completion_tokens) / 1e6)
    assert 0 < billed <= plan.max_cost_usd and plan.cost_usd < plan.max_cost_usd
    assert (plan.model, plan.frames) == (MODEL, 3)
    assert plan.prompt_tokens == pytest.approx(prompt_tokens, rel=0.3)


def test_nothing_is_sent_beyond_the_cap():
    plan = plan_clip(1, (96, 128), MODEL)  # money for one of four
    with ChatServer(lambda payload: ANSWER, api_key=KEY) as server:
        rows = ask(server, 4, plan)
    assert 1 <= len(server.log) < 4 and sum(row["cost_usd"] for row in rows) <= plan.max_cost_usd
    assert Counter(row["status"] for row in rows) == {"ok": len(server.log), "failed": 4 - len(server.log)}


def test_useless_answers_and_refusals_are_rows():
    texts = iter(["I see a hand.", ANSWER])
    with ChatServer(lambda payload: next(texts)) as server:
        assert sorted(row["status"] for row in ask(server, 2)) == ["invalid", "ok"]
    with ChatServer(lambda payload: ANSWER, faults=Faults(refused=1.0)) as server:
        assert [row["status"] for row in ask(server, 2)] == ["refused", "refused"]


def test_a_wrong_key_ends_it_without_being_named(caplog):
    caplog.set_level(logging.DEBUG)
    with ChatServer(lambda payload: ANSWER, api_key="another") as server, pytest.raises(LLMError) as caught:
        ask(server)
    assert KEY not in str(caught.value) and KEY not in caplog.text


def test_the_operators_key_is_not_used(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "operator-pays-nothing-5678")
    with ChatServer(lambda payload: ANSWER, api_key="operator-pays-nothing-5678") as server, pytest.raises(LLMError):
        ask(server)
    with pytest.raises(LLMError, match="the given key is empty"):
        ask_about_clip(pictures(1), keys(1), plan_clip(1, (96, 128), MODEL), "  ")


def test_a_model_without_a_price_is_not_asked():
    with pytest.raises(LLMError, match="price of 'some-new-model'"):
        plan_clip(1, (96, 128), "some-new-model")
