"""The tiny Video-LLM: made from a set of questions, an ordinary folder of a model, and able to learn."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from vidreason.errors import ConfigError
from vidreason.videoqa.__main__ import main
from vidreason.videoqa.conversation import chat_messages, check_processor, encode, load_answer_prompt
from vidreason.videoqa.frames import ShownFrames
from vidreason.videoqa.rows import question_row
from vidreason.videoqa.tables import write_questions
from vidreason.videoqa.tiny_model import TinyVideoLLMSettings, make_tiny_video_llm, make_word_tokenizer

TEXTS = ["What color is it?", "red", "blue", "pick up"]
SMALL = TinyVideoLLMSettings(vision_width=32, vision_layers=1, width=32, layers=2, heads=2)


def _shown(color, frames=8):
    pixels = np.zeros((frames, 96, 96, 3), dtype=np.uint8)
    pixels[..., color] = 200
    return ShownFrames(pixels, tuple(0.5 * i for i in range(frames)), tuple(range(frames)), 0.0, 4.0, 4.0)


def test_words_are_read_and_written_whole():
    tokenizer = make_word_tokenizer(TEXTS)
    ids = tokenizer("What  color\nis it?", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == "what color is it ?"
    assert tokenizer("purple", add_special_tokens=False).input_ids == [tokenizer.unk_token_id]
    marked = tokenizer("<|im_start|>user <0.5 seconds>it<|im_end|>", add_special_tokens=False).input_ids
    assert [tokenizer.convert_ids_to_tokens(i) for i in marked] == [
        "<|im_start|>",
        "user",
        "<0.5 seconds>",
        "it",
        "<|im_end|>",
    ]


def test_the_same_words_give_the_same_model_and_leave_the_callers_seed_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, _ = make_tiny_video_llm(TEXTS, SMALL)
    assert torch.equal(torch.rand(2), expected)
    again, _ = make_tiny_video_llm(reversed(TEXTS), SMALL)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    default, processor = make_tiny_video_llm(TEXTS)
    assert 1e6 < sum(weight.numel() for weight in default.parameters()) < 5e6
    check_processor("tiny", processor)
    # 8 frames of 96 px become 4 pairs of 8 x 8 patches, of which 2 x 2 are one token
    inputs = encode(processor, [chat_messages("", "what color is it?", with_video=True)], [_shown(0)])
    assert inputs["video_grid_thw"].tolist() == [[4, 8, 8]]
    assert (inputs["input_ids"] == default.config.video_token_id).sum() == 64


def test_a_command_makes_a_folder_that_loads_and_learns(tmp_path, capsys):
    """The loss of a color that the video shows falls, and that of a wrong video does not: it sees what it is shown."""
    rows = [
        question_row(
            question_id=text,
            source="s",
            split="train",
            video_id=text,
            question="what color is it?",
            answer_format="open",
            answer=text,
            producer="hand",
        )
        for text in ("red", "blue")
    ]
    write_questions(tmp_path / "questions", {"train": rows})
    flags = ["--vision_width", "32", "--vision_layers", "1", "--width", "32", "--layers", "2", "--heads", "2"]
    flags += ["--initializer_range", "0.15"]  # narrow as it is
    assert main(["make_tiny", "--questions", str(tmp_path / "questions"), "--out", str(tmp_path / "m"), *flags]) == 0
    assert "parameters" in capsys.readouterr().out
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "m")
    processor = AutoProcessor.from_pretrained(tmp_path / "m")
    prompt = load_answer_prompt("bare_question")
    shown = [_shown(0), _shown(2)]
    messages = [
        chat_messages(*prompt.texts(row, clip), True, row["answer"]) for row, clip in zip(rows, shown, strict=True)
    ]
    batch = {k: v for k, v in encode(processor, messages, shown, "right").items() if isinstance(v, torch.Tensor)}
    labels = batch["input_ids"].clone()
    labels[:, :-2] = -100  # the answer and the end of its turn
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(300):  # until it is learned, which takes some dozens of steps
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss < 0.05:
            break
    assert loss < 0.05
    model.eval()
    opened = [chat_messages(*prompt.texts(row, clip), True) for row, clip in zip(rows, shown, strict=True)]
    inputs = {k: v for k, v in encode(processor, opened, shown).items() if isinstance(v, torch.Tensor)}
    said = model.generate(**inputs, max_new_tokens=4, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    assert processor.batch_decode(said, skip_special_tokens=True) == ["red", "blue"]


@pytest.mark.parametrize("setting", [{"side_px": 60}, {"width": 100}, {"vision_width": 40}, {"patch_px": 1}])
def test_sizes_that_do_not_fit_are_named(setting):
    with pytest.raises(ConfigError, match=r"px|width"):
        TinyVideoLLMSettings(**setting)
