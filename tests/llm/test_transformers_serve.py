"""The client against `transformers serve`, a server that no one here wrote, with a tiny vision-language model in it.

The model's weights are random, so its answers are nonsense: all of them must end as statuses.
"""

import contextlib
import importlib.util
import io
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from llm_doubles import answer_all
from PIL import Image

from vidreason.annotation.grid.prompts import load_prompt, read_answer
from vidreason.llm.chat import FAILED, INVALID, TRUNCATED, ChatRequest, Question, image_part
from vidreason.llm.client import OpenAIChatClient
from vidreason.llm.cost import FREE
from vidreason.llm.online import OnlineAnswerer, RetryLimits
from vidreason.llm.store import RequestStore
from vidreason.synthetic import WorldConfig, render_clip

SERVING_EXTRA = ("fastapi", "uvicorn", "pydantic", "openai")
ABSENT = [name for name in SERVING_EXTRA if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(ABSENT), reason=f"transformers' serving extra is not installed: {ABSENT} are absent"),
]

PROMPTS = ("ucf", "desktop_assembly", "general")
GRID, HEIGHT, WIDTH = (4, 4), 120, 160
START_TIMEOUT_S = 180.0

CHAT_TEMPLATE = """{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}\
{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A LLaVA of two tiny towers with random weights, its tokenizer, its processor and its chat template."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny_llava")
    tokenizer = make_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.1,  # so that what is asked changes what is answered
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=image_token_id, vision_feature_layer=-1
    )
    model = LlavaForConditionalGeneration(config)
    # a word in four ends the answer, so that some answers end and others run into their limit
    model.generation_config.eos_token_id = list(range(tokenizer.eos_token_id, len(tokenizer), 4))
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    LlavaProcessor(
        CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
        image_token="<image>",
    ).save_pretrained(folder)
    return folder


def make_tokenizer():
    """Bytes, and what training on the prompts makes of them."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    texts = [load_prompt(name).user_template for name in PROMPTS]
    trained.train_from_iterator(texts, vocab_size=400, special_tokens=special, show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(model_folder, log_path):
    """`transformers serve` as a user starts it; gives its base URL."""
    port = free_port()
    options = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model_folder), *options]
    offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **offline})
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}/health", log_path)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def wait_until_healthy(process, url, log_path):
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.3)
    pytest.fail(f"transformers serve did not start:\n{log_path.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="module")
def url(model_folder, tmp_path_factory):
    with serving(model_folder, tmp_path_factory.mktemp("serve") / "log.txt") as url:
        yield url


def make_questions(model, count_per_prompt=4, **changes):
    """Questions with a picture, in each of the forms that answers have."""
    config = WorldConfig(width=WIDTH, height=HEIGHT)
    frames = render_clip("stir", 3, config).frames
    for name in PROMPTS:
        prompt = load_prompt(name)
        system, user = prompt.render(GRID, "stir", HEIGHT, WIDTH, "Synthetic actions")
        for number in range(count_per_prompt):
            file = io.BytesIO()
            Image.fromarray(frames[5 * number]).save(file, "JPEG", quality=90)
            content = [{"type": "text", "text": user}, image_part(file.getvalue())]
            messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
            settings = {"temperature": 1.0, "seed": number, "max_completion_tokens": 12, **changes}
            request = ChatRequest(
                model, messages, schema=prompt.schema(GRID), image_sizes=((HEIGHT, WIDTH),), **settings
            )
            yield Question((name, number), request, lambda text: read_answer(text, GRID, HEIGHT, WIDTH))


def test_nonsense_ends_as_statuses(url, model_folder, tmp_path):
    questions = list(make_questions(str(model_folder)))
    with RequestStore(tmp_path / "s.sqlite") as store:
        answerer = OnlineAnswerer(OpenAIChatClient(url, timeout_s=60), store, FREE, max_in_flight=3)
        answers = answer_all(answerer, questions)
        totals = store.totals()
    assert set(answers) == {question.key for question in questions}
    statuses = [answer.status for answer in answers.values()]
    assert set(statuses) == {INVALID, TRUNCATED}
    for question in questions:
        answer = answers[question.key]
        assert answer.usage.prompt_tokens > 100 and answer.usage.completion_tokens <= 12 * answer.attempts
        assert answer.attempts == (2 if answer.status == INVALID else 1)
        assert bool(answer.detail)
    assert totals.outcomes == {INVALID: 2 * statuses.count(INVALID), TRUNCATED: statuses.count(TRUNCATED)}
    assert totals.spent_usd == 0 and totals.prompt_tokens == sum(a.usage.prompt_tokens for a in answers.values())


def test_the_picture_reaches_the_model(url, model_folder, tmp_path):
    """Every picture is 16 tokens to this model: a prompt is longer by as much with it than without."""
    question = next(make_questions(str(model_folder), 1, temperature=0.0))
    system, user = question.request.messages
    text_only = [system, {"role": "user", "content": [part for part in user["content"] if part["type"] == "text"]}]
    with RequestStore(tmp_path / "s.sqlite") as store:
        answerer = OnlineAnswerer(
            OpenAIChatClient(url, timeout_s=60), store, FREE, limits=RetryLimits(max_invalid_attempts=1)
        )
        without = ChatRequest(question.request.model, text_only, 12, 0.0, question.request.seed)
        answers = answer_all(answerer, [question, Question("without", without, question.check)])
    longer = answers[question.key].usage.prompt_tokens - answers["without"].usage.prompt_tokens
    assert longer == 16


def test_what_the_server_rejects_fails_alone(url, model_folder, tmp_path):
    """It serves one model, and says so with status 400 to whoever asks for another."""
    with RequestStore(tmp_path / "s.sqlite") as store:
        answerer = OnlineAnswerer(OpenAIChatClient(url, timeout_s=60), store, FREE)
        questions = [*make_questions("another/model", 1), *make_questions(str(model_folder), 1)]
        keys = [(number, question.key) for number, question in enumerate(questions)]
        answers = answer_all(answerer, [Question(k, q.request, q.check) for k, q in zip(keys, questions, strict=True)])
    rejected, answered = keys[: len(PROMPTS)], keys[len(PROMPTS) :]
    for key in rejected:
        assert answers[key].status == FAILED and "pinned" in answers[key].text and answers[key].attempts == 1
    assert {answers[key].status for key in answered} <= {INVALID, TRUNCATED}
