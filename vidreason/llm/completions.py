"""What servers answer with, read within bounds: bodies of JSON or of events, and the completions in them.

Whatever a server sends is bounded in size, depth and meaning here, on its way online and in files of batches alike:
what is too long is cut and says so, what cannot be true is not believed, and what is no completion is an
`AttemptFailed`, so that each body ends as a status. Keys that servers quote are taken out (`Redactor`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .chat import Usage
from .json_text import MAX_CHARACTERS
from .retry import AttemptFailed, NoJson, failure_of_status, shorten

MAX_BODY_BYTES = 4 * 2**20
"""Bytes of a body, at most: some twenty times the longest answer that is looked at, with thoughts beside it."""

MAX_DEPTH = 64
"""Brackets around a value of a body, at most; completions have about eight."""

MAX_TOKENS = 10**8
"""Tokens of one attempt, at most: hundreds of times the longest context there is, and a table's integers hold the sum
of any number of attempts."""

MAX_NAME_CHARACTERS = 200

# of an answer that is too long to be looked at, for people who want to see what it was
_KEPT_CHARACTERS = 10_000
_EXCERPT_CHARACTERS = 200

# an answer of many parts; more than these is no text that someone wrote
_MAX_PARTS = 1000

# as OpenAI says it, and as others pass on what their own models say
_FILTERED = {"content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii", "refusal"}
_CUT = {"length", "max_tokens", "model_length"}

# in the words of a proxy, which wraps the filter's own error in a status of its own
_FILTER_WORDS = re.compile(
    r"content_filter|content_policy_violation|ResponsibleAIPolicyViolation|content management policy", re.IGNORECASE
)
# gateways that answer 200 to everything say in a word what the status would have been
_STATUS_OF_WORDS = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
}
_SERVER_ERROR = 500  # is tried again


# keys, which servers may quote

REDACTED = "[redacted]"

MIN_SECRET_LENGTH = 8
"""Shorter values are placeholders such as "EMPTY", which would blacken innocent words."""

# OPENAI_API_KEY, HF_TOKEN, AWS_SECRET_ACCESS_KEY: a server's message may quote any key that a proxy was given
_TELLING_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SHAPES = re.compile(
    r"""
    (?P<lead> \b(?:Bearer|Basic)\s+ | \bapi[-_ ]?key["'\s]*[:=]["'\s]* | ://(?=[^/\s]*@) )  # stands before a secret
      [^\s"',;@]+
    | \b(?:sk|pk|rk|hf|gsk|xai|sess)[-_][A-Za-z0-9_*.\-]{8,}                              # how services form keys
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Redactor:
    """Takes keys out of texts that other programs wrote, before they reach a log, an error or the store.

    Values of environment variables are read anew each time, and kept nowhere.

    Args:
        key_variables: Environment variables that hold a key although their names may not tell.
        given_key: A key that is in no variable, or empty.
    """

    key_variables: tuple[str, ...] = ()
    given_key: str = field(default="", repr=False)

    def own_secrets(self) -> list[str]:
        """The given key and the values of `key_variables`, longest first."""
        return _by_length([self.given_key, *(os.environ.get(name, "").strip() for name in self.key_variables)])

    def secrets(self) -> list[str]:
        """All secrets of this process, longest first: its own, and variables that are named like a secret."""
        named = [value.strip() for name, value in os.environ.items() if _TELLING_NAME.search(name)]
        return _by_length([*self.own_secrets(), *named])

    def redact(self, text: str) -> str:
        """A text of an error or a server without any secret of this process and without what is shaped like a key."""
        # shapes as well as values: a server may quote a key of a relay's, which is in no variable here
        return _SHAPES.sub(lambda match: (match["lead"] or "") + REDACTED, hide(text, self.secrets()))


def _by_length(values: list[str]) -> list[str]:
    # longest first: a key that begins with another must not leave its end behind
    return sorted({value for value in values if len(value) >= MIN_SECRET_LENGTH}, key=len, reverse=True)


def hide(text: str, values: Iterable[str]) -> str:
    """A text without these values, and otherwise as it was."""
    for value in values:
        if value in text:
            text = text.replace(value, REDACTED)
    return text


@dataclass(frozen=True)
class RawCompletion:
    """What one attempt brought back.

    Args:
        text: Text of the answer, empty where there is none.
        finish_reason: Why the answer ends: "stop", "length", "content_filter", ...
        refusal: The model's words where it would not answer, else empty.
        usage: Tokens as billed; None where the server does not say, or says what cannot be.
        model: Name of the model as the server gives it.
        source: Field of the message in which the text lay where that is not its content, such as "reasoning".
        num_characters: Characters of the whole answer where it was too long and `text` is its beginning, else 0.
    """

    text: str
    finish_reason: str = "stop"
    refusal: str = ""
    usage: Usage | None = None
    model: str = ""
    source: str = ""
    num_characters: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether the model would not answer, or a filter withheld the answer."""
        return bool(self.refusal) or self.finish_reason.lower() in _FILTERED

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut at its limit of tokens."""
        return self.finish_reason.lower() in _CUT

    def without(self, secrets: list[str]) -> RawCompletion:
        """This completion without secrets: it is stored and published, and some servers echo what they were sent."""
        return replace(
            self,
            text=hide(self.text, secrets),
            refusal=hide(self.refusal, secrets),
            model=hide(self.model, secrets),
        )


# bodies


def parse_body(body: bytes) -> Any:
    """The JSON value of a body, or the one that a stream of events adds up to.

    Args:
        body: Bytes of a body, of which there are at most `MAX_BODY_BYTES`.

    Raises:
        NoJson: it is neither.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoJson(f"byte {error.start} is no UTF-8") from None
    # not by the content type: servers name an event stream "text/plain", and JSON "text/html"
    if text.startswith(("data:", "event:", "id:", "retry:", ":")):
        return _join_events(text)
    return parse_json_body(text)


def parse_json_body(text: str | bytes) -> Any:
    """The JSON value of a text from a server.

    Raises:
        NoJson: it has none, or one that is nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise NoJson(f"it is nested deeper than {MAX_DEPTH} brackets") from None
    except ValueError as error:  # with a number of too many digits, too
        raise NoJson(f"{error}; it begins {_beginning(text)!r}") from None
    # level by level and not by recursion: what walks the value later may recurse
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for entry in level
            if isinstance(entry, dict | list)
            for inner in (entry.values() if isinstance(entry, dict) else entry)
        ]
        if not level:
            return value
    raise NoJson(f"it is nested deeper than {MAX_DEPTH} brackets")


def _beginning(text: str | bytes) -> str:
    head = text[:_EXCERPT_CHARACTERS]
    return " ".join((head.decode("utf-8", "replace") if isinstance(head, bytes) else head).split())


def _join_events(text: str) -> Any:
    """The completion that a stream of events adds up to, as if it had come in one piece.

    An event that is no chunk, such as an error or a whole completion, is the answer itself. A stream that breaks off
    before a chunk with a finish reason is no answer.
    """
    body: dict[str, Any] = {}
    said: dict[str, list[str]] = {}
    finish_reason = None
    for data in _event_data(text):
        if data == "[DONE]":
            break
        chunk = parse_json_body(data)
        if not isinstance(chunk, dict) or chunk.get("error"):
            return chunk
        body |= {name: chunk[name] for name in ("model", "usage") if chunk.get(name)}
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        if not isinstance(choice, dict) or choice.get("error") or "message" in choice:
            return chunk
        delta = choice.get("delta")
        for name, piece in delta.items() if isinstance(delta, dict) else ():
            if isinstance(piece, str):
                said.setdefault(name, []).append(piece)
        finish_reason = choice.get("finish_reason") or finish_reason
    if finish_reason is None:
        raise NoJson("the stream of events breaks off")
    message = {name: "".join(pieces) for name, pieces in said.items()}
    return {**body, "choices": [{"message": message, "finish_reason": finish_reason}]}


def _event_data(text: str) -> Iterator[str]:
    """The data of the events of a stream, in order, as the standard for server-sent events has them."""
    lines: list[str] = []
    # an event ends with an empty line, the last one perhaps with the stream
    for line in [*re.split(r"\r\n|\n|\r", text), ""]:
        if line.startswith("data:"):
            lines.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines)
            lines = []


# completions


def read_completion(body: Any, *, redact: Callable[[str], str]) -> RawCompletion:
    """A chat completion as a server, or a line of a batch's output, gives it.

    Args:
        body: JSON value of the response, as `parse_body` gives it.
        redact: Function that takes keys out of the texts of errors, such as `Redactor.redact`.

    Raises:
        AttemptFailed: the body is none.
    """
    if isinstance(body, Mapping) and body.get("error"):  # some gateways send errors as successes
        raise _failure_of_error(body["error"], redact)
    try:
        choice = body["choices"][0]
        error, reason = choice.get("error"), str(choice.get("finish_reason") or "stop")
        if error or reason.lower() == "error":
            # a provider behind the server gave up half-way; what had come until then looks like an answer
            return _read_broken(error or "the answer ended in an error", body, redact)
        return _read_choice(choice, reason, body)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError):
        text = shorten(redact(_excerpt(body)), _EXCERPT_CHARACTERS)
    # raised out here, so that the error carries no context with the whole body in it
    raise AttemptFailed(f"the server's answer is no chat completion: {text}", maybe_billed=True)


def refusal_of(message: str, code: object, *, redact: Callable[[str], str]) -> RawCompletion | None:
    """The refusal that an error is where a filter stopped the prompt: the next try would meet the same filter.

    Args:
        message: Words of the server.
        code: What it gives as the error's code.
        redact: Function that takes keys out of the words.
    """
    if code in ("content_filter", "content_policy_violation") or _FILTER_WORDS.search(message[:MAX_CHARACTERS]):
        words = shorten(redact(message[:MAX_CHARACTERS]))
        return RawCompletion("", "content_filter", refusal=words or "content_filter", usage=Usage())
    return None


def _read_choice(choice: Mapping[str, Any], reason: str, body: Mapping[str, Any]) -> RawCompletion:
    message = choice["message"]
    text, source = _text_of(message.get("content")), ""
    if not text.strip():
        text, source = _text_elsewhere(message)
    shown, num_characters = _bounded(text)
    return RawCompletion(
        text=shown,
        finish_reason=_one_line(reason, 40),
        refusal=_bounded(str(message.get("refusal") or ""))[0],
        usage=read_usage(body.get("usage")),
        model=_name_of(body.get("model")),
        source=source,
        num_characters=num_characters,
    )


def _text_of(content: Any) -> str:
    """The text of a message's content. Parts without text, such as thoughts, are left out."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or len(content) > _MAX_PARTS:
        raise TypeError("neither text nor parts")
    texts = [part if isinstance(part, str) else part.get("text") or "" for part in content]
    return "".join(text for text in texts if isinstance(text, str))


def _text_elsewhere(message: Mapping[str, Any]) -> tuple[str, str]:
    """What a message without content says all the same, and the field in which it lies."""
    # servers that cut thoughts off from answers take all for a thought where the model gave no sign of its end
    for name in ("reasoning_content", "reasoning"):
        text = message.get(name)
        if isinstance(text, str) and text.strip():
            return text, name
    # a schema is turned into the arguments of a function by some, which is then called with the answer
    calls = message.get("tool_calls")
    if isinstance(calls, list) and len(calls) == 1:
        arguments = calls[0]["function"]["arguments"]
        return (arguments if isinstance(arguments, str) else json.dumps(arguments)), "tool_calls"
    return "", ""


def _bounded(text: str) -> tuple[str, int]:
    """A text, and 0; of one that nobody will read its beginning, with what it was, and its length in characters."""
    if len(text) <= MAX_CHARACTERS:
        return text, 0
    sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    # between words: half a key that a server echoed would not be recognised any more
    beginning = text[:_KEPT_CHARACTERS].rsplit(None, 1)[0] if text[:_KEPT_CHARACTERS].strip() else ""
    return f"{beginning} [cut: {len(text)} characters, sha256 {sha256}]", len(text)


def _name_of(model: Any) -> str:
    name = model if isinstance(model, str) else ""
    if len(name) > MAX_NAME_CHARACTERS:
        sha256 = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{_one_line(name, 80)} [cut: {len(name)} characters, sha256 {sha256}]"
    return _one_line(name, MAX_NAME_CHARACTERS)


def _one_line(text: str, max_characters: int) -> str:
    if len(text) <= max_characters and text.isprintable():
        return text
    # a name is written into cards and logs, where a line break or a control character would be read as something else
    printable = "".join(character if character.isprintable() else " " for character in text[: 2 * max_characters])
    return shorten(printable, max_characters)


def read_usage(usage: Any) -> Usage | None:
    """The tokens that a server says it bills. None where it does not say, or says what cannot be.

    What is not known counts as the most that it could be, so a sum that lowers or breaks the ledger gains nobody
    anything.

    Args:
        usage: Value of the body's `usage`.
    """
    if not isinstance(usage, Mapping) or not usage:
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    billed = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    numbers = [_count(value) for value in (*billed, cached)]
    if billed == (None, None) or any(number is None for number in numbers):
        return None
    prompt_tokens, completion_tokens, cached_prompt_tokens = (number or 0 for number in numbers)
    return Usage(prompt_tokens, completion_tokens, min(cached_prompt_tokens, prompt_tokens))


def _count(value: Any) -> int | None:
    """A number of tokens; None where it is none."""
    if value is None:
        return 0
    # not a bool, which is an integer to Python; NaN and infinity fail the comparison
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS:
        return None
    return int(value) if value == int(value) else None


def _read_broken(error: Any, body: Mapping[str, Any], redact: Callable[[str], str]) -> RawCompletion:
    """The refusal that a choice's error is. What had come before the error may have been billed.

    Raises:
        AttemptFailed: it is no refusal.
    """
    code, message = code_of(error), words_of_error(error)
    # relays say 403 of a prompt that a provider's moderation has flagged
    refused = refusal_of(message, "content_filter" if code == 403 else code, redact=redact)
    if refused is not None:
        return replace(refused, usage=read_usage(body.get("usage")), model=_name_of(body.get("model")))
    failure = _failure_of_error(error, redact)
    failure.maybe_billed = True
    raise failure


def _failure_of_error(error: Any, redact: Callable[[str], str]) -> AttemptFailed:
    """What an error inside a success means."""
    kind = error.get("type") if isinstance(error, Mapping) else None
    code = code_of(error)
    known = (word for word in (code, kind) if isinstance(word, str) and word in _STATUS_OF_WORDS)
    status = code if isinstance(code, int) else _STATUS_OF_WORDS.get(next(known, ""), _SERVER_ERROR)
    word = code if isinstance(code, str) else kind
    return failure_of_status(status, words_of_error(error), word if isinstance(word, str) else None, redact=redact)


def code_of(error: Any) -> int | str | None:
    """The HTTP status in an error, which is a number of text with some, or else the word in its place."""
    code = error.get("code") if isinstance(error, Mapping) else None
    if isinstance(code, str):
        return int(code) if re.fullmatch(r"[45]\d\d", code) else code
    return code if isinstance(code, int) and 400 <= code <= 599 else None


def words_of_error(error: Any) -> str:
    """What an error in a body says."""
    message = error.get("message") if isinstance(error, Mapping) else error
    return message if isinstance(message, str) and message else _excerpt(error)


def _excerpt(value: Any) -> str:
    """The beginning of a value as text. A value that is nested deeper than any body is may not be shown whole."""
    try:
        return str(value)[:MAX_CHARACTERS]
    except RecursionError:
        return f"a {type(value).__name__} that is nested deeply"
