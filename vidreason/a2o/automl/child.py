"""Trains and runs a recogniser that a language model wrote, in a process that can do nothing else.

This file is started as a script in an empty environment (`sandbox.run_sandboxed`), imports nothing of this library,
and locks its own process before the code is loaded:

- `setrlimit`: processor seconds, address space, size of files, open files, no core dumps;
- all capabilities are dropped, and none can be won again (`no_new_privs`);
- Landlock: it can read Python, torch, system libraries and its own folder, and can write no file at all;
- seccomp: no sockets of any kind, no further processes, no other programs, no signals to other processes.

What the kernel does not offer is told to the parent before anything is run, which then decides. Labels of the clips
that are judged never come here: predictions go back, and the parent counts how many are right.
"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import socket
import struct
import sys
import traceback

_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_CLONE_THREAD = 0x00010000

# Numbers of system calls: x86-64, AArch64. From the kernel's tables, which never change.
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_REFUSED = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setrlimit": (160, 164),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "shmget": (29, 194),
    "io_uring_setup": (425, 425),  # would open sockets without the call of that name
}
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)
_SECCOMP, _CAPSET = (317, 277), (126, 91)
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446

_NO_MEMORY = ("not enough memory", "can't allocate memory", "Cannot allocate memory", "bad_alloc")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    """A system call; raises `OSError` where the kernel refuses."""
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def lock(config: dict) -> dict[str, str]:
    """Lock this process. Returns what could not be enforced: name -> why."""
    _libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which Landlock and seccomp want
    lacking: dict[str, str] = {}
    for name, step in (
        ("limits", lambda: _set_limits(config)),
        # torch writes temporary files where it is first used, so before that is over
        ("torch", _load_torch),
        ("files", lambda: _restrict_files(config["readable"])),
        ("capabilities", _drop_capabilities),
        ("network", _restrict_calls),
    ):
        try:
            step()
        except (OSError, ValueError, KeyError, ImportError, MemoryError) as error:
            lacking[name] = str(error)
    if "network" not in lacking:  # believed when it is seen
        with contextlib.suppress(PermissionError):
            socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
            lacking["network"] = "a socket could be opened all the same"
    return lacking


def _set_limits(config: dict) -> None:
    for name, value in config["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))


def _load_torch() -> None:
    """Import torch and whatever it imports when something is trained."""
    import torch
    from safetensors.torch import load_file  # noqa: F401

    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    torch.nn.functional.cross_entropy(layer(torch.zeros(1, 2)), torch.zeros(1, dtype=torch.int64)).backward()
    optimizer.step()


def _restrict_files(readable: list[str]) -> None:
    """Reading below some paths, and nothing else."""
    if len(os.listdir("/proc/self/task")) > 1:  # it holds for this thread, and for those that it will make
        raise OSError("another thread is running already")
    version = _call(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    # 13 rights of the first version; REFER, TRUNCATE and IOCTL_DEV came in versions 2, 3 and 5
    rights = (1 << 13) - 1 | (version >= 2) << 13 | (version >= 3) << 14 | (version >= 5) << 15
    attributes = struct.pack("=Q", rights)
    if version >= 4:
        attributes += struct.pack("=Q", 0b11)  # bind and connect of TCP
    rules = _call(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    for path in readable:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # not every system has every place
            continue
        read = (1 << 2) | ((1 << 3) if os.path.isdir(path) else 0)  # READ_FILE, READ_DIR
        _call(_LANDLOCK_ADD, ctypes.c_int(rules), ctypes.c_int(1), struct.pack("=Qi", read, place), ctypes.c_uint(0))
        os.close(place)
    _call(_LANDLOCK_RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0))
    os.close(rules)


def _drop_capabilities() -> None:
    which, _ = _ARCHITECTURES[platform.machine()]
    header = struct.pack("=Ii", 0x20080522, 0)
    _call(_CAPSET[which], header, struct.pack("=6I", *(0,) * 6))


def _restrict_calls() -> None:
    """A filter over system calls: those of `_REFUSED` fail, and a new task must be a thread."""
    if platform.machine() not in _ARCHITECTURES:
        raise OSError(f"no filter of system calls is known for {platform.machine()}")
    which, audit = _ARCHITECTURES[platform.machine()]
    allow, refuse, unknown = (_statement(0x06, of) for of in (_ALLOW, _ERRNO | _EPERM, _ERRNO | _ENOSYS))
    load = {"number": 0, "architecture": 4, **{f"argument {n}": 16 + 8 * n for n in range(3)}}
    program = [
        _statement(0x20, load["architecture"]),
        _jump(0x15, audit, 1, 0),  # another architecture's calls have other numbers
        refuse,
        _statement(0x20, load["number"]),
        _jump(0x35, 0x40000000, 0, 1),  # x32, whose calls are x86-64's by other numbers
        refuse,
    ]
    for number in (numbers[which] for numbers in _REFUSED.values()):
        if number is not None:
            program += [_jump(0x15, number, 0, 1), refuse]
    # glibc makes threads with clone3, whose flags lie in memory, and takes clone where there is none
    program += [_jump(0x15, _CLONE3[which], 0, 1), unknown]
    thread = [_statement(0x20, load["argument 0"]), _jump(0x45, _CLONE_THREAD, 0, 1), allow, refuse]
    program += [_jump(0x15, _CLONE[which], 0, len(thread)), *thread]
    own = [_statement(0x20, load["argument 0"]), _jump(0x15, os.getpid(), 0, 1), allow, refuse]  # abort() of its own
    program += [_jump(0x15, _TGKILL[which], 0, len(own)), *own]
    # limits may be looked at, and no new ones set: the pointer to them must be null
    low, high = load["argument 2"], load["argument 2"] + 4
    look = [_statement(0x20, low), _jump(0x15, 0, 0, 3), _statement(0x20, high), _jump(0x15, 0, 0, 1), allow, refuse]
    program += [_jump(0x15, _PRLIMIT[which], 0, len(look)), *look, allow]
    code = ctypes.create_string_buffer(b"".join(program))
    filter_ = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    # for all threads of the process at once (TSYNC): a library may have made some
    _call(_SECCOMP[which], ctypes.c_uint(1), ctypes.c_uint(1), filter_)


def _statement(code: int, value: int) -> bytes:
    """An instruction of the filter: 0x20 loads a word of the call, 0x06 ends with a verdict."""
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    """A conditional jump, in instructions to skip: 0x15 equal, 0x35 greater or equal, 0x45 any of some bits."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def train_and_predict(config: dict) -> dict:
    """Run the code, train what it builds, and predict the class of each clip of the other parts."""
    import torch
    from safetensors.torch import load_file

    torch.manual_seed(config["seed"])
    torch.set_num_threads(config["num_threads"])
    tensors = load_file(config["data_file"])
    namespace: dict = {"__name__": "recogniser"}
    exec(compile(config["code"], "recogniser.py", "exec"), namespace)
    model = namespace["build_model"](config["num_classes"])
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"build_model returned {type(model).__name__}, expected a torch.nn.Module")
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    if num_parameters > config["max_parameters"]:
        raise ValueError(f"the model has {num_parameters} parameters, at most {config['max_parameters']} are allowed")
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("the model has no parameters to train")
    optimizer = torch.optim.AdamW(trained, lr=config["learning_rate"], weight_decay=config["weight_decay"])
    pixels, labels = tensors["train"], tensors["train_labels"]
    for _ in range(config["num_epochs"]):
        for chosen in torch.randperm(len(pixels)).split(config["batch_size"]):
            optimizer.zero_grad()
            logits = _logits(model, pixels[chosen], config["num_classes"])
            torch.nn.functional.cross_entropy(logits, labels[chosen]).backward()
            optimizer.step()
    model.eval()
    predictions = {}
    with torch.no_grad():
        for part in config["parts"]:
            batches = tensors[part].split(config["batch_size"])
            predictions[part] = [
                label for batch in batches for label in _logits(model, batch, config["num_classes"]).argmax(1).tolist()
            ]
    return {"predictions": predictions, "num_parameters": num_parameters}


def _logits(model, pixels, num_classes):
    """(batch, classes) of uint8 frames (batch, frames, height, width, 3), which the model gets in [-1, 1]."""
    logits = model((pixels.permute(0, 1, 4, 2, 3).float() / 255 - 0.5) / 0.5)
    if tuple(getattr(logits, "shape", ())) != (len(pixels), num_classes):
        raise ValueError(
            f"the model returned {tuple(getattr(logits, 'shape', ()))} for {len(pixels)} clips, expected "
            f"({len(pixels)}, {num_classes})"
        )
    return logits


def _failure(error: BaseException) -> dict:
    """What went wrong, in few words: they are shown to the language model."""
    text = f"{type(error).__name__}: {error}"
    no_memory = isinstance(error, MemoryError) or any(
        words in text
        for words in ("not enough memory", "can't allocate memory", "Cannot allocate memory", "bad_alloc")
    )
    places = [place for place in traceback.extract_tb(error.__traceback__) if place.filename == "recogniser.py"]
    line = f" (line {places[-1].lineno} of the code)" if places else ""
    return {"failure": "out_of_memory" if no_memory else "crashed", "reason": text[:2000] + line}


def main() -> None:
    """Lock the process, say what could not be enforced, and then run what the configuration holds."""
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    answers = os.dup(1)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)

    def say(answer: dict) -> None:
        os.write(answers, json.dumps(answer).encode() + b"\n")

    lacking = lock(config)
    say({"lacking": lacking})
    if any(name in lacking for name in config["required"]):
        return
    try:
        answer = train_and_predict(config)
    except BaseException as error:  # SystemExit too: whatever ends the code ends this training
        answer = _failure(error)
    text = json.dumps(answer).encode() + b"\n"
    while text:
        text = text[os.write(answers, text) :]
    os._exit(0)  # no threads are waited for, and nothing that the code registered is run


if __name__ == "__main__":
    main()
