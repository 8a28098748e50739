import pytest

from vidreason.detection.class_text import check_class_text, check_class_texts, token_spans
from vidreason.errors import DetectionError


def test_a_class_text_has_one_spelling():
    assert check_class_text("  Sports   Ball ") == "sports ball"
    assert check_class_text("Cafe\u0301") == check_class_text("CAFÉ")  # composed and decomposed letters are the same
    assert check_class_texts(["Person", "hot dog"]) == ("person", "hot dog")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("   ", "empty"),
        (None, "no text"),
        ("person. ball", "one concept"),
        ("person, ball", "one concept"),
        ("cup/mug", "one concept"),
        ("a person who picks up the red ball from the floor", "at most 8 words"),
        ("x" * 81, "at most 8 words and 80"),
        ("ball\u0000", "cannot be printed"),
        ("---", "no letter"),
    ],
)
def test_what_is_no_name_of_one_concept_is_refused_and_never_cut(text, problem):
    with pytest.raises(DetectionError, match=problem):
        check_class_text(text)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [([], "no class texts"), (["ball", " Ball"], "twice"), ("ball", "expected a list")],
)
def test_a_list_of_classes_names_each_once(texts, problem):
    with pytest.raises(DetectionError, match=problem):
        check_class_texts(texts)


def test_a_class_is_found_by_whole_tokens_and_not_by_letters():
    # "fore ##arm", "arm", "hot dog", "dog" in a prompt, as word pieces
    fore, arm_piece, arm, hot, dog, stop = range(6)
    prompt = [fore, arm_piece, stop, arm, stop, hot, dog, stop, dog, stop]
    assert token_spans(prompt, [arm]) == [(3, 4)]
    assert token_spans(prompt, [fore, arm_piece]) == [(0, 2)]
    assert token_spans(prompt, [hot, dog]) == [(5, 7)]
    # by tokens alone "dog" stands within "hot dog" too: hence one class a prompt
    assert token_spans(prompt, [dog]) == [(6, 7), (8, 9)]
    # and a class that begins as another one ends where its own tokens end
    air = 6
    assert token_spans([hot, air, stop, hot, dog, stop], [hot, dog]) == [(3, 5)]
    with pytest.raises(DetectionError, match="without tokens"):
        token_spans(prompt, [])
