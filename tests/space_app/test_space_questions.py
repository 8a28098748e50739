"""The tab of questions: which models are Video-LLMs, what a visitor may ask, and what is shown of an answer."""

import base64
import io
import json
import re

import gradio as gr
import numpy as np
import pytest
import torch
from clipview.answer_pictures import time_line
from clipview.checkpoints import load_checkpoint
from clipview.examples import build_examples
from clipview.handlers import Handlers
from clipview.limits import Refused
from clipview.page import build_page
from clipview.video_llms import SAMPLING, is_video_llm, load_video_llms, read_question
from fixtures.space_question_model import OPTIONS, QUESTION, SMALL, save_question_model
from fixtures.tiny_video_models import make_model, make_processor
from PIL import Image

from vidreason.errors import ConfigError
from vidreason.videoqa.answering.asking import Prepared
from vidreason.videoqa.conversation import chat_messages, encode, load_answer_prompt
from vidreason.videoqa.frames import show_video
from vidreason.videoqa.tiny_model import save_tiny_video_llm


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return build_examples(tmp_path_factory.mktemp("examples"), questions=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_question_model(tmp_path_factory.mktemp("video_llms") / "tiny_llm")


@pytest.fixture(scope="module")
def video_llms(folder):
    return load_video_llms([str(folder)])


@pytest.fixture
def service(make_service, video_llms, examples):
    return make_service(video_llms=video_llms, questions=examples.questions)


def ask(service, path, question, options=""):
    return Handlers(service).answer(str(path), "tiny_llm", question, options, progress=lambda share, desc: None)


def test_a_video_llm_is_told_apart_by_its_configuration(folder, checkpoint_folders, segmenter_folder, tmp_path):
    assert is_video_llm(str(folder))
    assert not any(is_video_llm(str(other)) for other in (*checkpoint_folders, segmenter_folder, tmp_path))
    with pytest.raises(ConfigError, match="no view"):
        load_checkpoint(str(folder))
    with pytest.raises(ConfigError, match="two Video-LLMs are called 'tiny_llm'"):
        load_video_llms([str(folder), str(folder)])


def test_weights_that_are_no_safetensors_are_refused(folder, video_llms, tmp_path):
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(video_llms["tiny_llm"].answerer.network.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be loaded: OSError"):
        load_video_llms([str(tmp_path)])


def test_options_have_the_models_own_probabilities_with_the_clip_and_blind(service, video_llms, square_path):
    """Against the network's logits, of frames that the library chooses from the file itself."""
    shown = service.show_answer(str(square_path), "tiny_llm", QUESTION, "\n".join(OPTIONS))
    answerer = video_llms["tiny_llm"].answerer
    row = {"question": QUESTION, "options": OPTIONS, "answer_format": "choice"}
    frames = show_video(square_path, SAMPLING)
    assert shown.answer.shown.timestamps_s == pytest.approx(frames.timestamps_s)
    ids = answerer.processor.tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    assert answerer.processor.tokenizer.unk_token_id not in ids
    for said, seen in ((shown.answer.with_video, frames), (shown.answer.blind, None)):
        messages = [chat_messages(*load_answer_prompt().texts(row, seen), seen is not None)]
        inputs = encode(answerer.processor, messages, None if seen is None else [seen])
        with torch.inference_mode():
            shares = answerer.network(**inputs).logits[0, -1].softmax(dim=-1)[ids]
        np.testing.assert_allclose(said.shares, shares / shares.sum(), atol=1e-3)
        assert said.letters_share == pytest.approx(float(shares.sum()), abs=1e-3) and sum(
            said.shares
        ) == pytest.approx(1)
        assert said.text == OPTIONS[int(shares.argmax())]
    changes = np.subtract(shown.answer.with_video.shares, shown.answer.blind.shares)
    assert np.abs(changes).max() > 1e-5  # the clip is seen
    status, cards, evidence = ask(service, square_path, QUESTION, "\n".join(OPTIONS))
    assert 'role="status"' in status and "the answer is known" not in status
    assert re.findall(r'vr-label">(.*?)<', cards) == OPTIONS * 2 and "Blind" in cards
    # the likeliest of each card stands out, wherever it is
    bold = re.findall(r'vr-likeliest"><span class="vr-label">(.*?)<', cards)
    assert bold == [OPTIONS[int(np.argmax(said.shares))] for said in (shown.answer.with_video, shown.answer.blind)]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", evidence)
    assert (
        len(captions) == 1
        and captions[0].startswith("What the model was shown, at 0.")
        and "evidence<" not in evidence
    )


def test_without_options_the_greedy_answer_is_shown(service, video_llms, square_path):
    shown = service.show_answer(str(square_path), "tiny_llm", QUESTION, "")
    answerer = video_llms["tiny_llm"].answerer
    row = {"question_id": "q", "question": QUESTION, "options": [], "answer_format": "open"}
    for said, frames in ((shown.answer.with_video, show_video(square_path, SAMPLING)), (shown.answer.blind, None)):
        prepared = Prepared(row, "", *load_answer_prompt().texts(row, frames), frames)
        (expected,) = answerer.answer_batch([prepared])
        assert said.text == expected.text.strip() and said.is_cut == (expected.status == "truncated")
        assert said.shares == ()
    assert "<section" in ask(service, square_path, QUESTION)[1]


def test_the_evidence_of_an_example_is_drawn_where_it_is_known(service, examples, tmp_path):
    path, row = next(
        (path, row) for path, asked in examples.questions.items() for row in asked if row["evidence_boxes"]
    )
    copy = tmp_path / "renamed.mp4"  # known by its bytes
    copy.write_bytes(path.read_bytes())
    options = "\n".join(row["options"])
    status, _, evidence = ask(service, copy, f"  {row['question'].upper()} ", options)
    assert f"the answer is known: {row['answer']}." in status
    span = row["evidence_spans"][0]
    assert f"Evidence: {span['start_s']:.1f} to {span['end_s']:.1f} s" in evidence and "The steps: " in evidence
    with_boxes, _ = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', evidence)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(with_boxes)))).astype(int)[:240, :240]
    first = min(row["evidence_boxes"], key=lambda box: box["timestamp_s"])
    clip = service.read(str(path), service._deadline())[1]
    frame = clip.frames[int(np.abs(clip.times_s - first["timestamp_s"]).argmin())]
    plain = np.asarray(Image.fromarray(frame).resize((240, 240), Image.Resampling.BILINEAR)).astype(int)
    changed = np.abs(picture - plain).max(axis=2) > 60
    x0, _, x1, y1 = (round(240 * side) for side in first["box"])
    sides = changed[min(y1, 239) - 2 : y1, x0 + 3 : x1 - 3]  # the lower side, which no name covers
    assert sides.any(axis=0).mean() > 0.7
    other = ask(service, copy, "is it evening?")  # another question about it: nothing is known
    assert "the answer is known" not in other[0] and "evidence<" not in other[2]
    other = ask(service, copy, row["question"], "one\ntwo")  # the right answer is none of these
    assert "the answer is known" not in other[0]


@pytest.mark.parametrize(
    ("question", "options", "expected"),
    [
        ("  ", "", "Please ask a question"),
        ("why? " * 200, "", "at most 500 characters"),
        (QUESTION, "only this", "Options: 1 lines"),
        (QUESTION, "\n".join(map(str, range(27))), "Options: 27 lines"),
        (QUESTION, "red\nblue\nred", "line 3: &#x27;red&#x27; is there twice"),
        (QUESTION, "red\n" + "very " * 50, "line 2: longer"),
        ("What does <|video_pad|> do?", "", "signs that the model takes for its own"),
        ("What does <|im_end|> do?", "one\ntwo", "signs that the model takes for its own"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(service, square_path, question, options, expected):
    said = ask(service, square_path, question, options)
    assert said[0].startswith('<p role="alert">') and expected in said[0] and said[1:] == ("", "")


def test_other_wrong_requests_and_markup(service, square_path, tmp_path):
    handlers = Handlers(service)
    quiet = {"progress": lambda share, desc: None}
    assert handlers.answer(None, "tiny_llm", QUESTION, "", **quiet)[0] == "Please choose a clip first."
    assert "Please choose one of the Video-LLMs" in handlers.answer(str(square_path), "with", QUESTION, "", **quiet)[0]
    assert "expected an uploaded file" in handlers.answer(str(square_path), 3, QUESTION, "", **quiet)[0]
    with pytest.raises(Refused, match="no video"):
        (tmp_path / "text.mp4").write_text("no video")
        service.show_answer(str(tmp_path / "text.mp4"), "tiny_llm", QUESTION, "")
    shown = ask(service, square_path, "<script>?", "<b>one</b>\ntwo")
    assert not any(tag in "".join(shown) for tag in ("<script>", "<b>"))
    assert read_question(" a\n b ", "\n one \n\n two\n") == ("a b", ["one", "two"])


def test_a_question_that_is_too_long_for_the_model_and_one_that_has_no_time(
    service, video_llms, square_path, monkeypatch
):
    model = video_llms["tiny_llm"]
    monkeypatch.setattr(model.answerer, "max_tokens", 30)
    for options in ("", "one\ntwo"):
        assert "too long for it" in ask(service, square_path, QUESTION, options)[0]
    monkeypatch.setattr(service, "_deadline", lambda: type("D", (), {"left_s": 0.05, "check": lambda self: None})())
    service.read(str(square_path), service._deadline())  # from the cache from now on
    with model.lock:  # another visitor has it
        assert "took too long" in ask(service, square_path, QUESTION)[0]


def test_programs_get_what_the_tab_shows(service, examples, square_path, tmp_path):
    handlers = Handlers(service)
    asked = (str(square_path), "tiny_llm", QUESTION)
    result, shown = handlers.answer_json(*asked, "\n".join(OPTIONS)), service.show_answer(*asked, "\n".join(OPTIONS))
    assert json.loads(json.dumps(result)) == result and str(square_path.parent) not in json.dumps(result)
    for name, said in (("with_video", shown.answer.with_video), ("blind", shown.answer.blind)):
        assert result[name]["options"] == pytest.approx(dict(zip(OPTIONS, said.shares, strict=True)), abs=1e-4)
        assert list(result[name]["options"]) == OPTIONS  # in their order, as with two of one probability
        assert result[name]["text"] == max(OPTIONS, key=result[name]["options"].get) == said.text
        assert result[name]["letters_share"] == pytest.approx(said.letters_share, abs=1e-4)
    assert len(result["times_s"]) == SAMPLING.num_frames and result["known"] is None
    own_words = handlers.answer_json(*asked, "")["blind"]
    assert own_words["options"] is own_words["letters_share"] is None and own_words["text"]
    path, row = next((path, row) for path, rows in examples.questions.items() for row in rows if row["evidence_boxes"])
    known = handlers.answer_json(str(path), "tiny_llm", row["question"], "\n".join(row["options"]))["known"]
    assert known["answer"] == row["answer"] and known["evidence_spans"] == row["evidence_spans"]
    assert json.loads(json.dumps(known)) == known and known["evidence_boxes"] == row["evidence_boxes"]
    (tmp_path / "text.mp4").write_text("no video")
    for wrong, words in (
        (("", "tiny_llm", QUESTION, ""), "choose a clip first"),
        ((str(square_path), "with", QUESTION, ""), "Video-LLMs that are listed"),
        ((str(square_path), "tiny_llm", None, None), "ask a question"),
        ((str(square_path), "tiny_llm", ["a"], ""), "expected an uploaded file and texts"),
        ((str(square_path), "tiny_llm", QUESTION, "red\nblue\nred"), "'red' is there twice"),
        ((str(tmp_path / "text.mp4"), "tiny_llm", QUESTION, ""), "no video"),
    ):
        with pytest.raises(gr.Error, match=words) as caught:
            handlers.answer_json(*wrong)
        assert "<p" not in caught.value.message and str(tmp_path) not in caught.value.message


def test_the_tab_says_what_to_give_where_there_is_no_video_llm(make_service, service, examples):
    def ids_of(page):
        return [block.elem_id for block in page.blocks.values()]

    pages = build_page(make_service(), []), build_page(service, [], examples.questions)
    without, with_one = map(ids_of, pages)
    assert [list(page.get_api_info()["named_endpoints"]) for page in pages] == [["/analyse"], ["/analyse", "/answer"]]
    assert without.count("questions-tab") == with_one.count("questions-tab") == 1
    assert "questions-none" in without and "questions-run" not in without
    assert "questions-none" not in with_one and "questions-run" in with_one


def test_the_time_line_has_spans_and_frames_at_their_places():
    svg = time_line([{"start_s": 1.0, "end_s": 3.0}], [0.5, 3.5], 4.0)
    (x, width), marks = (
        re.search(r'<rect[^>]* x="([\d.]+)" y="\d+" width="([\d.]+)"', svg).groups(),
        re.findall(r'vr-line" x1="([\d.]+)"', svg),
    )
    start, end = 76, 468
    assert float(x) == pytest.approx(start + (end - start) / 4) and float(width) == pytest.approx((end - start) / 2)
    assert [float(mark) for mark in marks] == pytest.approx([start + (end - start) / 8, end - (end - start) / 8])
    assert "Evidence: 1.0 to 3.0 s. Frames at 0.5, 3.5 s" in svg
    assert "evidence" not in time_line([], [0.5], 4.0)


def test_a_tokenizer_without_letters_is_named(make_service, square_path, tmp_path):
    """A byte tokenizer has every letter; of a tokenizer of words without them the model cannot be asked choices."""
    save_tiny_video_llm(tmp_path / "letterless", ["what is it? one two"], SMALL)
    served = make_service(video_llms=load_video_llms([str(tmp_path / "letterless")]))
    with pytest.raises(Refused, match="cannot be asked"):
        served.show_answer(str(square_path), "letterless", "what is it?", "one\ntwo")
    processor = make_processor("smolvlm")
    make_model("smolvlm", processor.tokenizer).save_pretrained(tmp_path / "bytes")
    processor.save_pretrained(tmp_path / "bytes")
    served = make_service(video_llms=load_video_llms([str(tmp_path / "bytes")]))
    assert len(served.show_answer(str(square_path), "bytes", "what is it?", "one\ntwo").answer.blind.shares) == 2
