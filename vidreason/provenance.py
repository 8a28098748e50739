"""The columns that every producer's table shares: which frame a row speaks of, and what made the row.

Guidance has them today; tables of detections, scene graphs and answers have the same, so that a row of any of them is
joined by video and time, and is traced to a model, a revision and a prompt in one way.
"""

from __future__ import annotations

from typing import Any

from datasets import Value

FRAME_KEY_FEATURES = {
    "video_id": Value("string"),
    "source": Value("string"),  # data set and revision, such as "ucf101@1.0"
    "split": Value("string"),
    "frame_index": Value("int32"),  # index in the file's own order of presentation, from 0
    "timestamp_s": Value("float64"),  # presentation time from the start of the video
    "frame_height": Value("int32"),  # pixels, as displayed (after the rotation flag)
    "frame_width": Value("int32"),
}

FRAME_KEY = tuple(FRAME_KEY_FEATURES)

STATUSES = ("ok", "empty", "refused", "truncated", "invalid", "failed")
"""`ok`: there is an answer. `empty`: the answer is that there is nothing. The others: there is no answer."""

PROVENANCE_FEATURES = {
    "producer": Value("string"),  # kind of what made the row, such as "llm", "motion" or "detector"
    "model": Value("string"),  # its model, or what else tells two producers of a kind apart
    "revision": Value("string"),  # commit or version of the model or producer; empty where it is not known
    "prompt_id": Value("string"),
    "prompt_sha256": Value("string"),  # of the bytes of the prompt file
    "request_hash": Value("string"),  # key of the whole request in the store of answers
    "status": Value("string"),  # one of `STATUSES`
    "raw_response": Value("string"),  # word for word; by far the largest column
    "prompt_tokens": Value("int32"),
    "completion_tokens": Value("int32"),
    "cost_usd": Value("float64"),
    "schema_version": Value("string"),  # of the row's own contract
}

EMPTY_PROVENANCE: dict[str, Any] = {
    "model": "",
    "revision": "",
    "prompt_id": "",
    "prompt_sha256": "",
    "request_hash": "",
    "raw_response": "",
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "cost_usd": 0.0,
}
"""What a producer that asks no model leaves open."""
