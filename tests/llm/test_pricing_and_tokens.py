"""Prices, tokens of pictures and texts, against OpenAI's published figures and the paper's."""

import dataclasses
import datetime
import hashlib
import io
import json
import logging
import sys
import types

import pytest
from PIL import Image

from vidreason.annotation.grid.prompts import load_prompt
from vidreason.errors import LLMError
from vidreason.llm import cost
from vidreason.llm.chat import ChatRequest, Usage, image_part
from vidreason.llm.cost import (
    FREE,
    ModelPrice,
    cost_usd,
    estimate_tokens,
    image_patches,
    image_tiles,
    image_tokens,
    price_of,
    prices_copied_on,
    text_tokens,
    token_rule,
)

LOCAL = "http://localhost:8000/v1"


@pytest.fixture
def rules_of_thumb(monkeypatch):
    """As on a machine without tiktoken's file."""
    monkeypatch.setattr(cost, "_tiktoken", lambda: None)
    text_tokens.cache_clear()
    yield
    text_tokens.cache_clear()


# prices


@pytest.mark.parametrize(
    ("model", "prices"),
    [
        ("gpt-4.1", (2.0, 0.5, 8.0)),
        ("gpt-4.1-mini", (0.4, 0.1, 1.6)),
        ("gpt-4.1-mini-2025-04-14", (0.4, 0.1, 1.6)),
        ("gpt-4.1-nano", (0.1, 0.025, 0.4)),
        ("gpt-4o", (2.5, 1.25, 10.0)),
        ("gpt-4o-2024-08-06", (2.5, 1.25, 10.0)),
        ("gpt-4o-2024-05-13", (5.0, 5.0, 15.0)),  # a dated name with a price of its own
        ("gpt-4o-mini", (0.15, 0.075, 0.6)),
        ("o4-mini", (1.1, 0.275, 4.4)),
        ("gpt-5", (1.25, 0.125, 10.0)),
        ("gpt-5-mini-2025-08-07", (0.25, 0.025, 2.0)),
        ("gpt-5-nano", (0.05, 0.005, 0.4)),
    ],
)
def test_prices_of_openai(model, prices):
    assert price_of(model) == ModelPrice(*prices, batch_discount=0.5)
    assert price_of(model, LOCAL) == price_of(model)  # it may be a relay


def test_the_table_has_its_date():
    assert datetime.date.fromisoformat(prices_copied_on()) >= datetime.date(2025, 1, 1)


@pytest.mark.parametrize("base_url", [None, "https://api.openai.com/v1", "https://eu.api.openai.com/v1"])
@pytest.mark.parametrize("model", ["gpt-9", "gpt-4.1-mini-turbo", "ft:gpt-4.1-mini-2025-04-14:me::x", "2025-04-14"])
def test_unknown_prices_are_asked_for(model, base_url):
    with pytest.raises(LLMError, match=r"(?s)not in the table .*explicitly"):
        price_of(model, base_url)


def test_a_cap_wants_a_price_at_any_server():
    with pytest.raises(LLMError, match=r"price of 'alias'.* a cap on the cost needs it"):
        price_of("alias", LOCAL, is_capped=True)
    assert price_of("gpt-4.1", LOCAL, is_capped=True) == price_of("gpt-4.1")


@pytest.mark.parametrize("base_url", [LOCAL, "https://example.org/v1", "https://api.openai.com.example.org/v1"])
def test_other_servers_cost_nothing_and_it_is_said(base_url, caplog):
    with caplog.at_level(logging.INFO):
        assert price_of("Qwen/Qwen2.5-VL-3B-Instruct", base_url) == FREE
    assert "Qwen2.5-VL-3B-Instruct" in caplog.text and "cost nothing" in caplog.text


def test_costs():
    price = ModelPrice(input_usd=2.0, cached_input_usd=0.5, output_usd=8.0)
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=500_000, cached_prompt_tokens=400_000)
    assert cost_usd(price, usage) == pytest.approx(0.6 * 2.0 + 0.4 * 0.5 + 0.5 * 8.0)
    assert cost_usd(price, usage, batch=True) == pytest.approx(0.5 * cost_usd(price, usage))
    dear = dataclasses.replace(price, batch_discount=0.0)
    assert cost_usd(dear, usage, batch=True) == cost_usd(price, usage)
    assert cost_usd(FREE, usage) == cost_usd(price, Usage()) == 0.0


# pictures


@pytest.mark.parametrize(
    ("height", "width", "patches"),
    [
        (1024, 1024, 1024),  # published
        (2400, 1800, 1452),  # published: 1800 wide, 2400 high becomes 33 x 44 patches
        (1800, 2400, 1452),
        (240, 320, 80),
        (1, 1, 1),
        (32, 33, 2),
        (1024, 1536, 1536),  # exactly what is allowed
        (1474, 4000, 1449),
    ],
)
def test_patches(height, width, patches):
    assert image_patches(height, width) == patches


def test_patches_never_exceed_the_cap():
    sizes = [(side, other) for side in (1, 31, 777, 2160, 20000) for other in (33, 1500, 3840, 50000)]
    assert all(1 <= image_patches(*size) <= 1536 for size in sizes)


@pytest.mark.parametrize(
    ("height", "width", "tiles"),
    [(1024, 1024, 4), (4096, 2048, 6), (512, 512, 1), (240, 320, 1), (512, 513, 2), (1080, 1920, 6), (8192, 64, 4)],
)
def test_tiles(height, width, tiles):
    assert image_tiles(height, width) == tiles


@pytest.mark.parametrize(
    ("model", "height", "width", "detail", "expected"),
    [
        ("gpt-4.1-mini", 1024, 1024, "auto", 1659),  # 1024 x 1.62, rounded up as OpenAI's calculator does
        ("gpt-4.1-mini-2025-04-14", 1024, 1024, "high", 1659),
        ("gpt-4.1-mini", 1024, 1024, "low", 1659),  # not heeded
        ("gpt-4.1-nano", 1024, 1024, "auto", 2520),
        ("gpt-5-mini", 1024, 1024, "auto", 1659),
        ("gpt-5-nano", 1024, 1024, "auto", 2520),
        ("o4-mini", 1024, 1024, "auto", 1762),
        ("gpt-4.1-mini", 240, 320, "auto", 130),
        ("gpt-4o", 1024, 1024, "high", 765),  # published
        ("gpt-4o", 4096, 2048, "high", 1105),  # published
        ("gpt-4o", 8192, 4096, "low", 85),  # published
        ("gpt-4o", 1024, 1024, "auto", 765),
        ("gpt-4.1", 1024, 1024, "high", 765),
        ("gpt-4o-mini", 1024, 1024, "high", 2833 + 4 * 5667),
        ("gpt-4o-mini", 1024, 1024, "low", 2833),
        ("gpt-5", 1024, 1024, "high", 70 + 4 * 140),
        ("o3", 1024, 1024, "high", 75 + 4 * 150),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 280, 560, "auto", 202),  # no published rule: 28 x 28 pixels, and two more
    ],
)
def test_image_tokens(model, height, width, detail, expected):
    assert image_tokens(model, height, width, detail) == expected


# texts

JARGON = [  # "How to count tokens with tiktoken", OpenAI Cookbook: gpt-4o counts 124 prompt tokens
    (
        "system",
        None,
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    ("user", None, "This late pivot means we don't have time to boil the ocean for the client deliverable."),
]


def test_text_is_near_the_published_count(rules_of_thumb):
    messages = [{"role": role, "content": text} | ({"name": name} if name else {}) for role, name, text in JARGON]
    assert estimate_tokens(ChatRequest("gpt-4o", messages)).prompt_tokens == pytest.approx(124, rel=0.1)


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("hello world", 2), ("1234567", 3), ('{"key_r": [[0, 1]]}', 10), ("\n\n", 1), ("行動を見る", 5)],
)
def test_rules_of_thumb(rules_of_thumb, text, count):
    assert text_tokens(text) == count


def test_tiktoken_is_used_where_it_needs_no_network(tmp_path, monkeypatch):
    """tiktoken fetches a missing file over the network, so it is only asked where the file lies ready."""
    asked = []

    def get_encoding(name):
        asked.append(name)
        return types.SimpleNamespace(encode_ordinary=lambda text: text.split("-"))

    monkeypatch.setitem(sys.modules, "tiktoken", types.SimpleNamespace(get_encoding=get_encoding))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    cost._tiktoken.cache_clear()
    assert cost._tiktoken() is None and not asked
    file = tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790"  # the name tiktoken gives that file
    file.write_bytes(b"ranks")
    monkeypatch.setattr(cost, "_ENCODING_SHA256", hashlib.sha256(b"ranks").hexdigest())
    cost._tiktoken.cache_clear()
    text_tokens.cache_clear()
    try:
        assert text_tokens("a-b-c-d") == 4 and asked == ["o200k_base"] and token_rule() == "tiktoken o200k_base"
    finally:
        cost._tiktoken.cache_clear()
        text_tokens.cache_clear()


def _refuse(name):
    raise KeyError(name)


@pytest.mark.parametrize(
    ("module", "content", "message"),
    [
        ("works", b"half a fi", "not tiktoken's file of o200k_base, or damaged; delete it"),
        ("refuses", b"ranks", r"tiktoken cannot use it \(KeyError: 'o200k_base'\); delete it"),
        ("wants regex", b"ranks", "tiktoken cannot be loaded .*regex"),
        ("is not installed", b"half a fi", None),
    ],
)
def test_an_encoding_that_does_not_work_is_an_error_and_no_other_rule(tmp_path, monkeypatch, module, content, message):
    """With the rules of thumb in its place, one run would be priced by two rules."""
    modules = {
        "works": types.SimpleNamespace(get_encoding=lambda name: types.SimpleNamespace(encode_ordinary=list)),
        "refuses": types.SimpleNamespace(get_encoding=_refuse),
    }
    if module in modules:
        monkeypatch.setitem(sys.modules, "tiktoken", modules[module])
    else:
        package = tmp_path / "packages" / "tiktoken"
        if module == "wants regex":
            package.mkdir(parents=True)
            (package / "__init__.py").write_text("import regex_that_is_not_there")
            monkeypatch.syspath_prepend(str(package.parent))
            monkeypatch.delitem(sys.modules, "tiktoken", raising=False)
        else:
            monkeypatch.setitem(sys.modules, "tiktoken", None)  # as Python has it: an import of it fails
    monkeypatch.setattr(cost, "_ENCODING_SHA256", hashlib.sha256(b"ranks").hexdigest())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    (tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790").write_bytes(content)
    cost._tiktoken.cache_clear()
    text_tokens.cache_clear()
    try:
        if message is None:
            assert token_rule() == "rules of thumb" and text_tokens("hello world") == 2
        else:
            with pytest.raises(LLMError, match=message):
                text_tokens("hello world")
    finally:
        cost._tiktoken.cache_clear()
        text_tokens.cache_clear()


# requests


def make_picture(height: int, width: int) -> dict:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG")
    return image_part(buffer.getvalue())


def test_estimate_of_a_request(rules_of_thumb):
    text = {"type": "text", "text": "hello world"}
    request = ChatRequest(
        "gpt-4.1-mini",
        [{"role": "user", "content": [text, make_picture(240, 320)]}],
        max_completion_tokens=77,
        image_sizes=((240, 320),),
    )
    estimate = estimate_tokens(request)
    assert (estimate.image_tokens, estimate.max_completion_tokens) == (130, 77)
    assert estimate.prompt_tokens == 130 + 2 + 1 + 3 + 3  # the picture, the words, the role, the message, the reply
    schema = {"type": "object", "properties": {"key_r": {"type": "array"}}}
    with_schema = estimate_tokens(dataclasses.replace(request, schema=schema))
    assert with_schema.prompt_tokens == estimate.prompt_tokens + text_tokens(json.dumps(schema, sort_keys=True))
    unknown_size = estimate_tokens(dataclasses.replace(request, image_sizes=()))
    assert unknown_size.image_tokens == image_tokens("gpt-4.1-mini", 2048, 2048)


def test_a_frame_of_ucf_costs_what_the_paper_says(rules_of_thumb):
    """Appendix B: about 338 tokens for a frame of 320 x 240, of which the answer, a few cells, is a part."""
    system, user = load_prompt("ucf").render((4, 4), "ApplyEyeMakeup", 240, 320, "UCF101")
    content = [{"type": "text", "text": user}, make_picture(240, 320)]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    estimate = estimate_tokens(ChatRequest("gpt-4.1-mini", messages, image_sizes=((240, 320),)))
    answer = text_tokens('{"key_r": [[1, 1], [1, 2], [2, 1], [2, 2]]}')
    assert estimate.image_tokens == 130
    assert estimate.prompt_tokens + answer == pytest.approx(338, rel=0.1)
