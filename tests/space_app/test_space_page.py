"""What the page's parts are given, and what never reaches them."""

import logging
import re

import gradio as gr
import pytest
from clipview import language_model
from clipview.checked_blocks import find_problem
from clipview.handlers import MISHAP, NOBODY, Handlers
from clipview.limits import Refused
from clipview.page import build_page
from clipview.service import AUTOMATIC
from fixtures.space_clips import bad_files

from vidreason.llm.testing.chat_server import ChatServer

KEY = "visitor-brings-this-key-1234"
ANSWER = '{"important_objects": ["hand"], "localization": [{"name": "hand", "cells": [[1, 2]]}]}'


def silent(share, desc):
    """Progress that nobody sees."""


def show(handlers, path, name="with", other=NOBODY, strength=0.5, heat_map=True, llm_rows=None):
    return handlers.show(str(path), name, other, AUTOMATIC, strength, heat_map, llm_rows, progress=silent)


def test_everything_is_shown(make_service, square_path):
    handlers = Handlers(make_service())
    status, bars, first, second, cells, agreement, views, timeline, strip = show(
        handlers, square_path, other="without"
    )
    label = re.search(r'data-testid="label">([^<]*)<', status)[1]
    assert f'vr-label">{label}<' in bars and 'role="status"' in status
    assert first["label"] == "Attention of with" and second["label"] == "Attention of without" and second["visible"]
    assert cells["label"] == "Guidance: movement"
    assert "<svg" in agreement and agreement.count("<tr>") == 3 and views.count("<ol") == 6 and strip == ""
    assert not timeline["visible"]  # none of them segments


def test_one_checkpoint_leaves_the_second_place_empty(make_service, square_path):
    handlers = Handlers(make_service())
    for other in (NOBODY, "with", None):
        _, _, first, second, *_ = show(handlers, square_path, other=other)
        assert first["value"] and second["value"] is None and not second["visible"]


def test_without_the_heat_map_the_clip_is_bare(make_service, square_path):
    handlers = Handlers(make_service())
    shown = show(handlers, square_path)
    bare = handlers.repaint(str(square_path), "with", NOBODY, AUTOMATIC, 0.5, False, None)
    assert bare[1]["value"] != shown[2]["value"]
    again = handlers.repaint(str(square_path), "with", NOBODY, AUTOMATIC, 0.5, True, None)
    assert again[1]["value"] == shown[2]["value"]


def test_the_strip_is_made_on_demand(make_service, square_path):
    strip = Handlers(make_service()).strip(str(square_path), "with", NOBODY, AUTOMATIC, None)
    assert strip.count("<figure>") == 8 and len(re.findall(r'alt="\d\.\d\d s\. with: \d+ % inside', strip)) == 8


def test_no_clip_is_no_error(make_service):
    handlers = Handlers(make_service())
    assert show(handlers, "")[:2] == ("", "")
    assert handlers.strip(None, "with", NOBODY, AUTOMATIC, None) == "Please choose a clip first."
    assert handlers.price(None, "gpt-4.1-mini", 4)[1] is None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return bad_files(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize("name", ["empty", "text", "noise", "sound", "truncated", "huge_frames", "hours"])
def test_bad_files_get_a_message_without_a_path(make_service, files, name):
    path, _ = files[name]
    handlers = Handlers(make_service())
    status, *others = show(handlers, path)
    assert re.fullmatch(r'<p role="alert">[A-Z].*\.</p>', status) and "/" not in status.replace("</p>", "")
    assert others[0] == "" and others[1]["value"] is None
    with pytest.raises(gr.Error) as caught:
        handlers.analyse(str(path), "with", NOBODY, AUTOMATIC)
    assert str(path.parent) not in caught.value.message and f">{caught.value.message}<" in status


def test_an_unexpected_error_is_written_down_and_not_shown(make_service, square_path, monkeypatch, caplog):
    service = make_service()

    def fail(*_):
        raise RuntimeError("secret words in /secret/place")

    monkeypatch.setattr(service, "show", fail)
    with caplog.at_level(logging.ERROR):
        status, *_ = show(Handlers(service), square_path)
    assert MISHAP in status and "secret" not in status and "secret words" in caplog.text


def test_the_card_of_a_checkpoint(make_service):
    handlers = Handlers(make_service())
    assert handlers.card("with") == "# Card of with" and "no card" in handlers.card("../../etc/passwd")


def test_frames_that_others_stand_in_for_are_told_of(make_service, shared_data):
    path = shared_data / "faults" / "corrupted.mp4"
    if not path.is_file():
        pytest.skip("the damaged clip is not here")
    handlers = Handlers(make_service())
    assert "1 frame of the clip is damaged; the next one that is not stands in" in show(handlers, path)[0]
    assert handlers.analyse(str(path), "with", NOBODY, AUTOMATIC)["video"]["replaced_frames"] == 1


def test_values_of_other_kinds_are_refused_in_words(make_service, square_path, caplog):
    handlers, path = Handlers(make_service()), str(square_path)
    for wrong in (5, 1.5, True, [], ["with"], [["with"]], {}, {"a": 1}, object()):
        good = {"video": path, "name": "with", "other": NOBODY, "guidance": AUTOMATIC}
        for parameter in good:
            if (parameter, wrong) in (("video", []), ("video", {})):
                continue  # no clip at all: another text
            with pytest.raises(gr.Error) as caught:
                handlers.analyse(**good | {parameter: wrong})
            assert parameter in caught.value.message, (parameter, wrong)
        assert handlers.card(wrong) == "This checkpoint has no card."
    for strength in (None, "x", [], True, float("nan"), -1, 2):
        assert "strength" in show(handlers, path, strength=strength)[0]
    assert not caplog.records  # the operator's log is for mishaps


# guidance from a language model


def test_the_price_comes_first_and_then_the_answer(make_service, square_path):
    with ChatServer(lambda payload: ANSWER, api_key=KEY) as server:
        handlers = Handlers(make_service(llm_base_url=server.url))
        assert "price first" in handlers.ask_llm(str(square_path), None, KEY)[0] and not server.log
        text, quote, button = handlers.price(str(square_path), "gpt-4.1-mini", 3)
        assert re.search(r"3 pictures for gpt-4.1-mini: about \$0\.\d{4}, never more than \$0\.\d{4}", text)
        assert button["interactive"] and not server.log
        text, said, field = handlers.ask_llm(str(square_path), quote, KEY)
    assert len(server.log) == 3 and text.startswith("3 of 3 pictures") and field == ""
    assert KEY not in repr(said) and KEY not in repr(vars(handlers.service))
    shown = show(handlers, square_path, llm_rows=said)
    assert shown[4]["label"] == "Guidance: language model"
    assert "the language model gpt-4.1-mini" in shown[5]


def test_a_wrong_key_is_said_without_the_servers_words(make_service, square_path, caplog):
    with caplog.at_level(logging.DEBUG), ChatServer(lambda payload: ANSWER, api_key="another-key") as server:
        handlers = Handlers(make_service(llm_base_url=server.url))
        _, quote, _ = handlers.price(str(square_path), "gpt-4.1-mini", 2)
        text, said, field = handlers.ask_llm(str(square_path), quote, KEY)
    assert "Please check the key" in text and said is None and field == ""
    assert KEY not in text and KEY not in caplog.text


def test_what_cannot_be_asked(make_service, square_path, files):
    service = make_service(llm_base_url="http://127.0.0.1:9/v1")  # where nobody answers
    quote = language_model.quote(service, str(square_path), "gpt-4.1-mini", 2)
    for model, count in (("gpt-9", 2), ("gpt-4.1-mini", 1000)):
        with pytest.raises(Refused, match="models and numbers"):
            language_model.quote(service, str(square_path), model, count)
    for key in ("", "  ", "k" * 600):
        with pytest.raises(Refused, match="enter your key"):
            language_model.ask(service, str(square_path), quote, key)
    with pytest.raises(Refused, match="another clip"):
        language_model.ask(service, str(files["empty"][0].with_name("camera.mp4")), quote, KEY)


# the page


def test_programs_see_an_endpoint_of_each_tab_that_is_there_and_no_key(make_service, square_path):
    page = build_page(make_service(), [square_path])
    endpoints = page.get_api_info()["named_endpoints"]
    assert list(endpoints) == ["/analyse"]
    names = [parameter["parameter_name"] for parameter in endpoints["/analyse"]["parameters"]]
    assert names == ["video", "name", "other", "guidance"]


def test_uploads_go_to_no_system_program(make_service):
    page = build_page(make_service(), [])
    videos = [block for block in page.blocks.values() if isinstance(block, gr.Video)]
    uploads = [video for video in videos if video.interactive is not False]
    assert len(uploads) == 1 and uploads[0].include_audio and uploads[0].format is None
    assert uploads[0].sources == ["upload", "webcam"] and not uploads[0].streaming


def test_every_part_that_takes_values_has_them_checked(make_service, square_path):
    """For each input of each event: nothing of a wrong kind comes to Gradio, and the page's own values all do."""
    page = build_page(make_service(), [square_path])
    seen = set()
    for block in {block for event in page.fns.values() for block in event.inputs}:
        seen.add(type(block).__name__)
        if isinstance(block, gr.State):
            continue
        wrong = [[], ["with"], {}, {"path": 5}, {"a": 1}, {"path": "/tmp/x", "meta": 5}, object(), float("nan")]
        if not isinstance(block, gr.Checkbox):
            wrong += [True]
        if not isinstance(block, gr.Textbox):
            wrong += ["", "nobody", "x" * 100_000, "http://127.0.0.1/x.mp4"]
        if not isinstance(block, gr.Slider):
            wrong += [5, 1.5]
        for value in wrong:
            problem = find_problem(block, value)
            assert problem and len(problem) < 200, (block, value)
        assert find_problem(block, None) is None
        if isinstance(block, gr.Dataset):
            assert find_problem(block, 0) is None and find_problem(block, 1)  # there is one example
        elif not isinstance(block, gr.Video):
            assert find_problem(block, block.value) is None
    assert seen == {"Video", "Dataset", "Dropdown", "Radio", "Slider", "Checkbox", "Textbox", "State"}
    video = next(block for block in page.blocks.values() if isinstance(block, gr.Video))
    note = {"path": "/somewhere/clip.mp4", "meta": {"_type": "gradio.FileData"}, "orig_name": "clip.mp4"}
    assert find_problem(video, note) is None
    for path in ("http://127.0.0.1:9/x.mp4", "file:///x.mp4", "", "/x\0.mp4", None, ["/x.mp4"]):
        assert find_problem(video, note | {"path": path}), path


def test_an_operator_may_leave_the_language_model_out(make_service):
    labels = {getattr(block, "label", None) for block in build_page(make_service(offer_llm=False), []).blocks.values()}
    assert "Your clip" in labels and not any("key" in str(label).lower() for label in labels)
