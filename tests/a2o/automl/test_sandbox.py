"""Code that a language model wrote: good code is trained, and bad code can do nothing that it should not."""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vidreason.a2o.automl import child, sandbox
from vidreason.a2o.automl.sandbox import CodeTraining, SandboxLimits, run_sandboxed
from vidreason.errors import ConfigError

NUM_CLIPS = 10
GOOD = """
import torch

class Brightness(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = torch.nn.Linear(3, num_classes)

    def forward(self, frames):
        return self.layer(frames.mean((1, 3, 4)))

def build_model(num_classes):
    return Brightness(num_classes)
"""


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    """Clips of two classes, which are told apart by their brightness."""
    labels = torch.arange(32) % 2
    noise = torch.rand(32, 4, 16, 16, 3, generator=torch.Generator().manual_seed(0)) * 80
    clips = (noise + labels.view(-1, 1, 1, 1, 1) * 120).to(torch.uint8)
    file = tmp_path_factory.mktemp("clips") / "clips.safetensors"
    save_file({"train": clips, "train_labels": labels, "validation": clips[:NUM_CLIPS].clone()}, file)
    return file


def run(code, data_file, seconds=60.0, **settings):
    limits = SandboxLimits(seconds=seconds, memory_mb=4096, max_parameters=1000)
    training = CodeTraining(num_epochs=5, learning_rate=0.1)
    return run_sandboxed(code, data_file, {"validation": NUM_CLIPS}, 2, training, limits, **settings)


def body(*lines):
    """Code whose `build_model` does something."""
    return "def build_model(num_classes):\n" + "".join(f"    {line}\n" for line in lines)


def test_good_code_is_trained(data_file):
    done = run(GOOD, data_file)
    assert done.status == "ok" and not done.lacking and done.num_parameters == 8
    assert done.predictions["validation"].tolist() == [0, 1] * 5


FORBIDDEN = {
    "connect": "__import__('socket').create_connection(('127.0.0.1', 80), 1)",
    "resolve": "__import__('socket').socket(__import__('socket').AF_INET, __import__('socket').SOCK_DGRAM)",
    "unix socket": "__import__('socket').socketpair()",
    "fork": "__import__('os').fork()",
    "program": "__import__('subprocess').run(['/bin/true'])",
    "replace itself": "__import__('os').execv('/bin/true', ['true'])",
    "write": "open({outside!r}, 'w')",
    "write at hand": "open('here', 'w')",
    "write its data": "open({data!r}, 'r+b')",
    "delete": "__import__('os').unlink({secret!r})",
    "folder": "__import__('os').mkdir({outside!r})",
    "read": "open({secret!r}).read()",
    "list": "__import__('os').listdir({folder!r})",
    "environment of the parent": "open('/proc/%d/environ' % __import__('os').getppid()).read()",
    "memory of the parent": "open('/proc/%d/mem' % __import__('os').getppid(), 'rb').read(1)",
    "kill the parent": "__import__('os').kill(__import__('os').getppid(), 0)",
    "more memory": "__import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (-1, -1))",
    "more time": "__import__('resource').setrlimit(__import__('resource').RLIMIT_CPU, (-1, -1))",
    "another root": "__import__('os').chroot('/tmp')",
    "another user": "__import__('os').setuid(65534) or __import__('os').setuid(0)",
}


def test_what_code_must_not_do_fails(data_file, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-the-parent")
    secret, outside = tmp_path / "secret", tmp_path / "outside"
    secret.write_text("a secret")
    places = {"secret": str(secret), "outside": str(outside), "folder": str(tmp_path), "data": str(data_file)}
    attempts = {name: text.format(**places) if "{" in text else text for name, text in FORBIDDEN.items()}
    code = body(
        "import os",
        "outcomes = {}",
        f"for name, text in {attempts!r}.items():",
        "    try:",
        "        outcomes[name] = f'done: {eval(text)!r}'[:80]",
        "    except (OSError, ValueError) as error:",
        "        outcomes[name] = type(error).__name__",
        "outcomes['variables'] = sorted(name for name in os.environ if 'KEY' in name or 'PATH' in name)",
        "outcomes['threads'] = __import__('threading').Thread(target=len, args=('a',)).start()",
        "raise RuntimeError(__import__('json').dumps(outcomes))",
    )
    done = run(code, data_file)
    assert done.status == "crashed" and done.reason.startswith("RuntimeError: ")
    outcomes = json.loads(done.reason.removeprefix("RuntimeError: ").rsplit(" (line", 1)[0])
    # threads are made all the same, which torch needs
    assert outcomes.pop("variables") == [] and outcomes.pop("threads", "none") is None
    assert set(outcomes) == set(FORBIDDEN)
    done_anyway = {name: outcome for name, outcome in outcomes.items() if outcome.startswith("done")}
    assert not done_anyway
    assert secret.read_text() == "a secret" and not outside.exists()
    # the same list does what it says outside: a test that would pass anywhere would show nothing
    assert eval(attempts["read"]) == "a secret" and eval(attempts["kill the parent"]) is None
    assert b"a-key-of-the-parent" not in done.reason.encode()


_ALL_ENDS = "for number in range(3, 20):"
_NEXT = "    except OSError: pass"
_FORGED = json.dumps({"predictions": {"validation": [5] * NUM_CLIPS}, "num_parameters": 1}) + "\n"
ENDS = {
    "a loop without end": (body("while True: pass"), "timed_out", "stopped after"),
    "asleep, with its answer closed": (
        body("import os, time", _ALL_ENDS, "    try: os.close(number)", _NEXT, "time.sleep(1000)"),
        "timed_out",
        "stopped after",
    ),
    "a memory bomb": (body("held = []", "while True: held.append(bytearray(2**31))"), "out_of_memory", "MemoryError"),
    "an answer without end": (
        body("import os", _ALL_ENDS, "    try:", "        while True: os.write(number, b'x' * 65536)", _NEXT),
        "bad_output",
        "too long",
    ),
    "labels that there are not": (
        body("import os", _ALL_ENDS, f"    try: os.write(number, {_FORGED.encode()!r})", _NEXT, "os._exit(0)"),
        "bad_output",
        "not labels from 0 to 1",
    ),
    "an end without an answer": (body("import os", "os._exit(0)"), "bad_output", "no JSON object"),
}


@pytest.fixture(scope="module")
def ends(data_file):
    """Name -> how the code of that name ended. All at a time: most of it is waiting, or loading torch."""

    def end(name):
        code, status, _ = ENDS[name]
        return run(code, data_file, seconds=1.5 if status == "timed_out" else 60.0)

    with ThreadPoolExecutor(len(ENDS)) as pool:
        return dict(zip(ENDS, pool.map(end, ENDS), strict=True))


@pytest.mark.parametrize("name", ENDS)
def test_bad_code_ends_as_a_status(ends, name):
    _, status, reason = ENDS[name]
    assert ends[name].status == status and reason in ends[name].reason
    assert not ends[name].predictions


UNUSABLE = {
    "no model": (body("return 3"), "build_model returned int, expected a torch.nn.Module"),
    "too large": (body("import torch", "return torch.nn.Linear(100, 100)"), "10100 parameters, at most 1000"),
    "nothing to train": (body("import torch", "return torch.nn.Flatten()"), "no parameters to train"),
    "another shape": (GOOD.replace("(3, num_classes)", "(3, 5)"), r"returned (8, 5) for 8 clips, expected (8, 2)"),
    "an error": (body("x = 1", "raise KeyError('x')"), "KeyError: 'x' (line 3 of the code)"),
    "memory": (body("import torch", "torch.zeros(10**15)"), "allocate memory"),
}


@pytest.mark.parametrize("code, reason", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_models_that_cannot_be_used_are_named_for_the_next_attempt(data_file, code, reason):
    """In this process, without the sandbox: what the child makes of code of ours."""
    config = {"code": code, "data_file": str(data_file), "parts": ["validation"], "num_classes": 2, "num_threads": 1}
    with pytest.raises(Exception) as caught:
        child.train_and_predict({**config, "max_parameters": 1000, **vars(CodeTraining())})
    told = child._failure(caught.value)
    assert reason in told["reason"] and told["failure"] == (
        "out_of_memory" if reason == "allocate memory" else "crashed"
    )


@pytest.mark.parametrize(
    "code, reason",
    {
        "": "there is no code",
        "I would rather not.": "is no Python",
        "x = 1": "does not define build_model",
        "(" * 10_000: "is no Python",
        "# " + "x" * 100_001: "at most 100000 are allowed",
        "def build_model(n): \0": "is no Python",
    }.items(),
)
def test_texts_that_are_no_code_start_nothing(data_file, monkeypatch, code, reason):
    monkeypatch.setattr(sandbox, "_run_child", lambda *_: pytest.fail("a process was started"))
    done = run(code, data_file)
    assert done.status == "no_code" and reason in done.reason


def test_nothing_is_run_where_it_cannot_be_confined(data_file, monkeypatch, tmp_path):
    """A child on another processor knows no filter of system calls, and says so before it loads the code."""
    child = tmp_path / "child.py"
    text = sandbox._CHILD.read_text().replace("platform.machine()", "'a toaster'")
    child.write_text(text)
    monkeypatch.setattr(sandbox, "_CHILD", child)
    with pytest.raises(
        ConfigError, match=r"cannot be confined here \(.*network: .*no filter .* a toaster.*none is run"
    ):
        run(body(f"open({str(tmp_path / 'ran')!r}, 'w')"), data_file)
    assert not (tmp_path / "ran").exists()
    done = run(GOOD, data_file, allow_unconfined=True)
    assert done.status == "ok" and set(done.lacking) == {"capabilities", "network"}
    assert done.predictions["validation"].tolist() == [0, 1] * 5
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigError, match="on Linux only, and this is win32"):
        run(GOOD, data_file)


def test_the_parent_reads_answers_as_data():
    """What a child may say, without a child."""

    def read(said, exit_code=0, killed=""):
        return sandbox._read(sandbox._Done(said, exit_code, killed, 1.0), {"v": 2}, 3, False)

    begun = b'{"lacking": {}}\n'
    assert read(begun + b'{"predictions": {"v": [0, 2]}, "num_parameters": 7}').predictions["v"].dtype == np.int64
    for said, reason in {
        b'{"predictions": {"v": [0]}, "num_parameters": 7}': "expected 2 predictions of v",
        b'{"predictions": {"v": [0, true]}, "num_parameters": 7}': "not labels",
        b'{"predictions": {"v": [0, 1.0]}, "num_parameters": 7}': "not labels",
        b'{"predictions": [0, 1], "num_parameters": 7}': "expected 2 predictions of v",
        b'{"predictions": {"v": [0, 1]}, "num_parameters": -1}': "no number of parameters",
        b"[" * 100_000: "no JSON object",
        b"\xff": "no JSON object",
    }.items():
        assert (read(begun + said).status, reason in read(begun + said).reason) == ("bad_output", True)
    assert read(begun, -signal.SIGXCPU).status == "timed_out"
    assert read(begun, -signal.SIGKILL).status == "out_of_memory"
    with pytest.raises(ConfigError, match=r"cannot be started \(not within 120 s\)"):
        read(b"", None, "timed_out")
    with pytest.raises(ConfigError, match=r"cannot be started \(exit code 1\)"):
        read(b"", 1)


def test_limits_out_of_range_are_named():
    for name, value in (("seconds", 0), ("memory_mb", 10), ("num_threads", 0), ("max_parameters", 0)):
        with pytest.raises(ConfigError, match=f"{name} is {value}"):
            SandboxLimits(**{name: value})
    assert os.path.isfile(sandbox._CHILD)
