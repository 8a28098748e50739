"""What a server says against the form of a request, and what is left out of requests from then on.

Only fields that a server does not know are left out. A value that it refuses ("max_tokens is too large") says that it
knows the field: it concerns the one request, and must not change all later ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .retry import words_of

# one limit, two names: OpenAI's reasoning models reject the older, some servers know no other
LIMIT, OLDER_LIMIT = "max_completion_tokens", "max_tokens"

FORMAT = "response_format"
SCHEMA = "json_schema"
"""Stands among the names of fields for the kind of `response_format` that holds a schema."""

_FIELDS = ("temperature", "seed", "stream", LIMIT, OLDER_LIMIT)

MAX_FORMS = len(_FIELDS) + 3
"""Forms of one request, at most: a server that objects to one field at a time has then seen them all, and the format
of the answer in each of its three kinds."""

_READ_CHARACTERS = 2000  # what follows in an objection is mostly the request, quoted

_UNKNOWN = re.compile(
    r"""
      not\ (?:be\ )?(?:supported|allowed|permitted|recogni[sz]ed|accepted|implemented|available|known|a\ valid)
    | (?:does|do|did|can)\s?(?:n['o]t|\ not)\ (?:support|accept|take|recogni[sz]e|know|allow|use)
    | \b(?:unknown|unsupported|unrecogni[sz]ed|unexpected|extra|additional)\b
    | extra_forbidden | unsupported_parameter | unknown_parameter | cannot\ find\ field | no\ such\ (?:field|parameter)
    | not\ both | cannot\ both | at\ the\ same\ time | mutually\ exclusive
    """,
    re.VERBOSE,
)
_REFUSED_VALUE = re.compile(
    r"""
      too\ (?:large|small|big|long|high|low|short|many|few)
    | (?:must|should|has\ to|needs\ to)\ be | at\ (?:least|most)\ -?\d | (?:greater|less|more|larger|smaller)\ than
    | exceed | out\ of\ range | \bmaximum\b | \bminimum\b | \brange\b | \bgot\ -?\d
    | invalid[_ ]value | unsupported[_ ]value | (?:above|below)_m(?:ax|in)
    | (?:greater|less)_than | _parsing | _type\b
    """,
    re.VERBOSE,
)
# OpenAI's words for a field that may not be set; it calls that an unsupported value
_ONLY_DEFAULT = re.compile(r"only the default|default value is supported")
# servers name a schema by the feature that it turns on, by the library that reads it, or by what they make of it
_SCHEMA_WORDS = re.compile(
    r"""
      response_format | json[_ -]?schema | json_object | guided | \bgrammar\b | structured[_ ]outputs?
    | xgrammar | outlines | llguidance | lm-format-enforcer
    """,
    re.VERBOSE,
)
_SCHEMA_STATUSES = (400, 422, 500, 501)  # grammars that cannot be compiled end as errors of the server with some


def objection_of(error: Exception) -> str:
    """What a server says of the form of a request, without the request that it may quote.

    Args:
        error: Exception of the openai package.
    """
    body = getattr(error, "body", None)
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if isinstance(detail, list):  # FastAPI: places and messages, with the whole input beside them
        entries = [item for item in detail[:20] if isinstance(item, Mapping)]
        text = " ".join(f"{item.get('type')} {item.get('loc')} {item.get('msg')}" for item in entries)
    else:
        code = getattr(error, "code", None)
        text = f"{getattr(error, 'param', None) or ''} {code if isinstance(code, str) else ''} {words_of(error)}"
    return text[:_READ_CHARACTERS].strip()


def fields_to_leave_out(body: Mapping[str, Any], status_code: int | None, objection: str) -> set[str]:
    """The fields of a rejected request that its server does not know, by what it says.

    A schema goes first, for JSON without one, and that for none: prompts say what is wanted in words, too. The limit
    of the answer's length never goes under both its names, since an answer without one has no bound and so no price.

    Args:
        body: Body of the request as it was sent.
        status_code: HTTP status of the rejection. 400 is about the form of a request, and 422 is what FastAPI, and so
            vLLM and `transformers serve`, call a bad body.
        objection: What the server says of the request.

    Returns:
        Names for `OpenAIChatClient.adapt`. None of them where a value is refused.
    """
    text = objection.lower()
    is_about_form = status_code in (400, 422)
    is_unknown = (bool(_UNKNOWN.search(text)) and not _REFUSED_VALUE.search(text)) or bool(_ONLY_DEFAULT.search(text))
    found: set[str] = set()
    if is_about_form and is_unknown:
        found = {name for name in _FIELDS if name in body and re.search(rf"\b{name}\b", text)}
    if body.get(FORMAT) and status_code in _SCHEMA_STATUSES and _SCHEMA_WORDS.search(text):
        names_field_alone = re.search(rf"\b{FORMAT}\b", text) and not re.search(r"schema|json_object|\.type", text)
        has_schema = body[FORMAT].get("type") == SCHEMA
        found.add(FORMAT if names_field_alone or not has_schema else SCHEMA)
    # "use the one in place of the other", or "not both": the older one goes
    if {LIMIT, OLDER_LIMIT} <= found:
        found.discard(LIMIT)
    # the last of the two stays
    return found - ({LIMIT, OLDER_LIMIT} if (LIMIT in body) != (OLDER_LIMIT in body) else set())
