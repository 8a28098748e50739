"""Answers of language models, as they come, read as sets of object classes."""

import random
import string

import pytest

from vidreason.a2o.proposal import STATUSES, parse_proposal
from vidreason.errors import DetectionError

PLAIN = "person\nball\nnet"


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN,
        "- person\n- ball\n- net\n",
        "* Person\n\n* BALL \n* net.",
        "1. person\n2. ball\n3. net",
        "1) person\n2) ball\n3) net",
        "```\nperson\nball\nnet\n```",
        "```text\n\u2022 person\n\u2022 ball\n\u2022 net\n```",
        '"person",\n"ball",\n"net"',
        '["person", "ball", "net"]',
        '```json\n["person", "ball",\n "net"]\n```',
        "person, ball, net",
        '{"objects": ["person", "ball", "net"]}',
        "Prompts: person, ball, net",
        "## Objects\nperson\nball\nnet\n---",
        "Sure, here are the classes:\n\n- **person**: the one who acts\n- **ball** \u2013 thrown\n- net (of any kind)",
        "Here are three objects that tell the actions apart\nperson\nball\nnet",
        "I'm sorry, the last list was poor.\nperson\nball\nnet",
        "  Person\r\n\tball\r\n net \r\n",
        "person\nball\nperson\nnet\nBall",
    ],
)
def test_lists_in_any_dress_are_the_same_list(answer):
    proposal = parse_proposal(answer, max_classes=8)
    assert (proposal.status, proposal.class_texts) == ("ok", ("person", "ball", "net"))


def test_hyphens_and_words_of_several_parts_stay_whole():
    proposal = parse_proposal("T-shirt\nhot dog\nbasketball hoop\n3d glasses\nstop sign", max_classes=8)
    assert proposal.class_texts == ("t-shirt", "hot dog", "basketball hoop", "3d glasses", "stop sign")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("", "empty"),
        (" \n\n ", "empty"),
        ("[]", "empty"),
        ("```\n```", "empty"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("I cannot name objects in videos of people", "refused"),
        ("As an AI, I have no opinion\nPlease ask somebody else; anybody.", "refused"),
        ("The model fails since the two actions share every object, so that none of them helps.", "unparsable"),
        ('{"objects": 3}', "unparsable"),
        ("[1, [2], {}]", "unparsable"),
        ("!!!\n???", "unparsable"),
        ("[" * 5000, "unparsable"),
    ],
)
def test_answers_without_a_class_have_a_status_and_a_reason(answer, status):
    proposal = parse_proposal(answer, max_classes=8)
    assert proposal.status == status
    assert proposal.class_texts == () and proposal.reason


def test_long_lists_are_cut_and_what_was_cut_is_kept_on_record():
    proposal = parse_proposal("\n".join(f"{n}. thing number {n}" for n in range(1, 201)), max_classes=8)
    assert proposal.status == "ok" and proposal.num_proposed == 200
    assert proposal.class_texts == tuple(f"thing number {n}" for n in range(1, 9))
    assert len(proposal.dropped) == 192
    assert proposal.dropped[0] == ("thing number 9", "beyond the limit of 8 classes")


def test_a_set_proposed_before_is_a_duplicate_in_any_order():
    earlier = {frozenset({"person", "ball", "net"}), frozenset({"person"})}
    assert parse_proposal("net\nBall\nperson", 8, earlier).status == "duplicate"
    assert parse_proposal("net\nball\nperson\nhoop", 8, earlier).status == "ok"
    # what is trained with is the list that was cut
    assert parse_proposal("net\nball\nperson\nhoop", 3, earlier).status == "duplicate"
    assert parse_proposal("person\nball", 8, earlier).status == "ok"


def test_classes_that_a_detector_does_not_know_are_dropped_with_the_reason():
    proposal = parse_proposal("person\nfloor\nsports ball", 8, vocabulary=("person", "sports ball"))
    assert proposal.class_texts == ("person", "sports ball")
    assert proposal.dropped == (("floor", "not in the detector's vocabulary"),)
    nothing = parse_proposal("floor\nforearm", 8, vocabulary=("person", "arm"))
    assert nothing.status == "unknown_class" and "floor, forearm" in nothing.reason

    def check(text):
        if len(text) > 6:
            raise DetectionError(f"{text!r} has more than 6 letters")

    limited = parse_proposal("person\nbasketball", 8, check_text=check)
    assert limited.class_texts == ("person",)
    assert limited.dropped == (("basketball", "'basketball' has more than 6 letters"),)


def test_whatever_the_answer_is_it_is_read():
    generator = random.Random(0)
    pieces = [
        *string.printable,
        "\u2022",
        "\ud800",
        "\x00",
        "**",
        "```",
        "1. ",
        "# ",
        "sorry",
        "person\n",
        ", ",
        "[",
        '"',
    ]
    for _ in range(500):
        text = "".join(generator.choices(pieces, k=generator.randrange(80)))
        proposal = parse_proposal(text, 4)
        assert proposal.status in STATUSES and len(proposal.class_texts) <= 4
        assert bool(proposal.class_texts) == (proposal.status == "ok")
