"""Flags to dataclasses, and mistakes in one line."""

import argparse
import errno
import importlib
import os
import sys
from dataclasses import dataclass, field

import pytest
from safetensors import SafetensorError
from transformers import TrainingArguments

from vidreason.command_line import INTERRUPTED, OneLineParser, end_with_status, run_command
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--heigth", "3"],
            "the following arguments are required: --height; unknown flag --heigth (did you mean --height?); --help "
            "lists all",
        ),
        (["--height", "3", "--oot=x", "--q"], "unknown flags --oot=x (did you mean --out?), --q; --help lists all"),
        (["--height", "3", "there"], "no flag takes 'there'"),
        (["--height", "tall"], "argument --height: invalid int value: 'tall'"),
        (["--out", "there"], "the following arguments are required: --height"),
        (["--height"], "argument --height: expected one argument"),
    ],
)
def test_wrong_flags_are_one_line_and_another_status(capsys, words, message):
    ran = []
    assert run_command(lambda *given: ran.append(given), Sizes, Place, arguments=words) == 2
    assert capsys.readouterr().err == f"error: {message}\n" and not ran


def test_what_transformers_refuses_of_a_value_is_wrong_usage(capsys):
    words = ["--output_dir", "x", "--eval_strategy", "sometimes"]
    assert run_command(lambda *given: None, TrainingArguments, arguments=words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "sometimes" in line

    # a dataclass that needs what a misspelt flag was to give it
    def needs_out(place):
        raise ConfigError("out is not set")

    checked = dataclass(type("Checked", (Place,), {"__post_init__": needs_out}))
    assert run_command(lambda *given: None, checked, arguments=["--outt", "x"]) == 2
    assert "unknown flag --outt (did you mean --out?)" in capsys.readouterr().err


def test_sub_commands_have_the_same_way(capsys):
    parser = OneLineParser()
    run = parser.add_subparsers(required=True).add_parser("run")
    run.add_argument("--num_workers", type=int)
    for words, message in (
        (["run", "--num_worker=3", "--nom_workers", "3"], "unknown flag --nom_workers (did you mean --num_workers?)"),
        (["run", "--num_workers", "x"], "argument --num_workers: invalid int value: 'x'"),
        (["rum"], "invalid choice: 'rum'"),
    ):
        assert end_with_status(lambda words=words: parser.parse_args(words) and 0) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and message in line
    assert isinstance(parser.parse_args(["run"]), argparse.Namespace)


def wrapped(cause: Exception) -> Exception:
    """An error of a library that was raised from another."""
    error = RuntimeError("An error occurred while generating the dataset")
    error.__cause__ = cause
    return error


TOLD = {
    "a full disk": (
        OSError(errno.ENOSPC, "No space left on device", "out/a.json"),
        "No space left on device: out/a.json",
    ),
    "a full disk, no name": (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "out"), "Read-only file system: out"),
    "a file in place of a folder": (
        NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"),
        "Not a directory: a/b",
    ),
    "inside a library's": (wrapped(PermissionError(errno.EACCES, "Permission denied", "c")), "Permission denied: c"),
    "a status of Rust": (
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        "SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
    ),
    "torch": (
        RuntimeError("[enforce fail at inline_container.cc:1]\n. PytorchStreamWriter failed writing file data/0"),
        "a file could not be written to its end; is the disk full? ([enforce fail at inline_container.cc:1] . "
        "PytorchStreamWriter failed writing file data/0)",
    ),
    "several lines": (ConfigError("first\n  second\n"), "first second"),
}
UNTOLD = [
    FileNotFoundError(errno.ENOENT, "No such file or directory"),
    OSError(errno.EBADF, "Bad file descriptor"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    ValueError("29 is not a valid Type"),
    RuntimeError("CUDA error (os error 5)"),
]


@pytest.mark.parametrize(("error", "line"), TOLD.values(), ids=TOLD.keys())
def test_what_a_user_can_cause_is_told(capsys, error, line):
    def fail():
        raise error

    assert end_with_status(fail) == 1
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("error", UNTOLD, ids=repr)
def test_what_a_user_cannot_cause_stays_a_traceback(error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        end_with_status(fail)


def test_a_status_is_passed_on_and_any_name_can_be_printed(capsys):
    assert [end_with_status(lambda status=status: status) for status in (None, 0, 1, 3)] == [0, 0, 1, 3]
    assert end_with_status(lambda: print(os.fsdecode(b"caf\xe9"))) == 0
    assert capsys.readouterr().out == "caf\\udce9\n"


COMMANDS = {
    "vidreason.commands": ["--output_dir", "x"],
    "vidreason.segmentation.__main__": ["a.mp4", "--model", "x", "--out", "y"],
    "vidreason.study.__main__": ["run", "x.yaml", "--out", "y"],
    "vidreason.study.leave_one_group_out": ["--out", "y"],
    "vidreason.llm.testing.chat_server": ["--constant", "x"],
    "vidreason.synthetic.chat_server": ["--world", "x"],
    "vidreason.publishing.release": [],
    "vidreason.demo.__main__": [],
    "space_app.__main__": [],
    "datasets_scripts.build": ["video-folder", "--root", "x", "--out", "y"],
    "datasets_scripts.annotate": ["--manifest", "x", "--out", "y"],
}


@pytest.mark.parametrize(("module", "words"), COMMANDS.items(), ids=COMMANDS.keys())
def test_every_command_ends_with_one_line(monkeypatch, capsys, module, words):
    monkeypatch.setattr(sys, "argv", ["command", *words, "--no_such_flag", "1"])
    command = importlib.import_module(module)
    main = getattr(command, "main", None) or command.train
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "unknown flag --no_such_flag" in line
