"""Flags to dataclasses, and mistakes in one line."""

import sys
from dataclasses import dataclass, field

import pytest

from vidreason.command_line import INTERRUPTED, run_command
from vidreason.errors import ConfigError


@dataclass
class Sizes:
    height: int = field(metadata={"help": "Pixels."})


@dataclass
class Place:
    out: str = field(default="here", metadata={"help": "Where to."})


@pytest.fixture(autouse=True)
def flags(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script", "--height", "3", "--out", "there"])


def test_each_dataclass_gets_its_flags():
    given = []
    assert run_command(lambda *arguments: given.extend(arguments), Sizes, Place) == 0
    assert given == [Sizes(3), Place("there")]


def test_a_mistake_is_one_line_and_a_bug_is_a_trace(capsys):
    def mistake(sizes, place):
        raise ConfigError(f"height is {sizes.height}")

    assert run_command(mistake, Sizes, Place) == 1
    assert capsys.readouterr().err == "error: height is 3\n"
    with pytest.raises(ZeroDivisionError):
        run_command(lambda sizes, place: 1 / 0, Sizes, Place)


def test_an_interrupted_command_says_so(capsys):
    def interrupt(sizes, place):
        raise KeyboardInterrupt

    assert run_command(interrupt, Sizes, Place) == INTERRUPTED == 130
    assert capsys.readouterr().err == "stopped\n"
    assert run_command(interrupt, Sizes, Place, resumable=True) == INTERRUPTED
    assert capsys.readouterr().err.splitlines()[1] == "what was answered is kept, and the same command goes on"
