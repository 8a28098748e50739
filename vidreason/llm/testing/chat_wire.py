"""The API's side of a chat completion as its server sees it: bodies, error statuses, and what is billed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from aiohttp import web
from PIL import Image

from .chat_faults import Completion, Faults

_BYTES_PER_TOKEN = 4  # about right for English, and no tokeniser is needed
_TOKENS_PER_MESSAGE = 4
_PATCH_PX, _MAX_PATCHES, _TOKENS_PER_PATCH = 32, 1536, 1.62


@dataclass(frozen=True)
class Received:
    """A request as it arrived, and what became of it.

    Args:
        payload_hash: SHA-256 of the body, as `ChatRequest.request_hash` makes it.
        attempt: Number of times that the same body had arrived by then, this time included.
        time_s: Time of arrival in seconds, by `time.monotonic`.
        channel: "online" or "batch".
        outcome: "ok", the name of a fault, or the HTTP status of an answer that the client is to blame for.
        prompt_tokens: Prompt tokens as billed.
        completion_tokens: Completion tokens as billed.
    """

    payload_hash: str
    attempt: int
    time_s: float
    channel: str
    outcome: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class RequestError(Exception):
    """An answer with an error status, in the form of the API."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def response(self) -> web.Response:
        """The error as a response of the server."""
        return web.json_response(self.body, status=self.status, headers=self.headers)


def hash_of(payload: Mapping[str, Any]) -> str:
    """SHA-256 of a body, as `vidreason.llm.chat.ChatRequest.request_hash` makes it.

    The client gives the limit of the answer's length to servers other than OpenAI's under its older name as well, and
    says that it wants its answer in one piece.
    """
    if payload.get("stream") is False:
        payload = {name: value for name, value in payload.items() if name != "stream"}
    if payload.get("max_tokens") == payload.get("max_completion_tokens"):
        payload = {name: value for name, value in payload.items() if name != "max_tokens"}
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object in the body of a request.

    Raises:
        RequestError: there is none.
    """
    try:
        payload = json.loads(body)
    except ValueError as error:
        raise RequestError(400, f"the body is no JSON: {error}") from error
    if not isinstance(payload, dict):
        raise RequestError(400, "the body must be an object")
    return payload


def error_of(fault: str | None, faults: Faults) -> RequestError | None:
    """The error status that a fault is, if it is one."""
    if fault == "server_error":
        return RequestError(500, "The server had an error while processing your request")
    if fault == "out_of_credit":
        return RequestError(429, "You exceeded your current quota", "insufficient_quota")
    if fault not in ("rate_limited", "rate_limited_bare"):
        return None
    wait_s = faults.retry_after_s
    headers = {
        "seconds": {"Retry-After": f"{wait_s:g}"},
        # HTTP dates have whole seconds: rounded up, or a client would come back too early
        "date": {"Retry-After": formatdate(math.ceil(time.time() + wait_s), usegmt=True)},
        "milliseconds": {"retry-after-ms": f"{wait_s * 1000:.0f}"},
    }[faults.retry_after_form]
    return RequestError(
        429, "Rate limit reached for requests", "rate_limit_exceeded", headers if fault == "rate_limited" else None
    )


def abort(request: web.Request) -> None:
    """Break off a connection without an answer."""
    if request.transport is not None:  # None where the client has gone already
        request.transport.abort()


def cut_at_limit(completion: Completion, payload: dict[str, Any]) -> tuple[Completion, int]:
    """A completion within its token limit, and the number of its tokens."""
    tokens = count_text_tokens(completion.text or completion.refusal or "")
    limit = payload.get("max_completion_tokens", payload.get("max_tokens"))
    if not isinstance(limit, int) or tokens <= limit:
        return completion, tokens
    return Completion((completion.text or "")[: limit * _BYTES_PER_TOKEN], "length"), limit


def completion_body(completion_id: str, model: str, completion: Completion, received: Received) -> dict[str, Any]:
    """A completion in the form of the API.

    Args:
        completion_id: Id of the completion.
        model: Name of the model, as it was asked for.
        completion: What the model says.
        received: The request, with the tokens that are billed for it.
    """
    message = {"role": "assistant", "content": completion.text, "refusal": completion.refusal}
    prompt_tokens, completion_tokens = received.prompt_tokens, received.completion_tokens
    return {
        "id": completion_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": completion.finish_reason}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def count_text_tokens(text: str) -> int:
    """Tokens of a text, by its length: no tokeniser is at hand here."""
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)


def count_prompt_tokens(payload: Mapping[str, Any]) -> int:
    """Tokens that a prompt is billed as.

    Text counts by its length, pictures by the rule for gpt-4.1-mini, whatever the model, and a schema as its JSON
    text. That rule is written a second time here, and not taken from `vidreason.llm.cost`, so that a comparison of
    what was estimated with what was billed compares two things. A picture of more patches than there may be counts as
    many.
    """
    tokens = _TOKENS_PER_MESSAGE * len(payload.get("messages") or ())
    for part in message_parts(payload):
        if part["type"] == "text":
            tokens += count_text_tokens(str(part["text"]))
            continue
        try:
            with Image.open(io.BytesIO(image_bytes(part))) as picture:  # reads the header alone
                patches = math.prod(math.ceil(side / _PATCH_PX) for side in picture.size)
        except OSError as error:
            raise ValueError("the picture is of no known format") from error
        tokens += math.ceil(min(patches, _MAX_PATCHES) * _TOKENS_PER_PATCH)
    schema = payload.get("response_format")
    return tokens + (count_text_tokens(json.dumps(schema)) if schema else 0)


def message_parts(payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of all messages of a chat completion; plain text becomes a part of its own.

    Raises:
        ValueError: the body has no messages, or one of an unknown form.
    """
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list of at least one message")
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or []:
            if not isinstance(part, dict) or part.get("type") not in part or part["type"] not in ("text", "image_url"):
                raise ValueError("a message's content must be text, or parts of type text and image_url")
            yield part


def image_bytes(part: Mapping[str, Any]) -> bytes:
    """The file in a part with a picture.

    Raises:
        ValueError: its URL is no data URL in base64.
    """
    url = part["image_url"].get("url") if isinstance(part["image_url"], dict) else None
    head, _, data = str(url).partition(",")
    if not re.fullmatch(r"data:image/[a-z]+;base64", head):
        raise ValueError("the URL of a picture must be a data URL in base64")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the picture is not base64: {error}") from error
