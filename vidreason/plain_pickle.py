"""Reads a pickle as plain data: numbers, texts, lists, tuples, dictionaries and arrays of numbers.

A pickle is a program, and `pickle.load` runs it: whoever wrote the file may do whatever its reader may. Annotations
are published as pickles all the same. Here the standard library takes the file apart into its instructions
(`pickletools.genops`, which runs nothing), those that build plain data are followed, and an array is put together from
its bytes by our own code. Anything else, such as another class or function, ends the reading with its name.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ManifestError, VidreasonError

MAX_BYTES = 512 * 2**20
"""Largest file: that of MultiSports, with 900,000 boxes in float64, has about 40 MB."""

MAX_INSTRUCTIONS = 20_000_000
"""Most instructions, where a reader sets no other: MultiSports has about a million. Each takes a microsecond, and adds
at most one item."""

_DTYPE = re.compile(r"[<>|=]?[fiub][1248]")
_MARK = object()
_CORES = ("numpy.core", "numpy._core")  # before numpy 2, and since
_NAMES = {
    **{f"{core}.multiarray {name}": name for core in _CORES for name in ("_reconstruct", "scalar")},
    **{f"{core}.numeric _frombuffer": "_frombuffer" for core in _CORES},
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
    "__builtin__ bytes": "bytes",  # as old protocols write empty ones
    "collections OrderedDict": "dict",
    "collections defaultdict": "dict",
    "__builtin__ list": "list",
    "builtins list": "list",
    "__builtin__ dict": "list",
    "builtins dict": "list",
    "__builtin__ set": "set",
    "builtins set": "set",
}
"""What a pickle may name -> what is made of it here. Nothing of it is imported or called."""


class StoredArray:
    """An array of numbers in a pickle, which can be named before its bytes come."""

    def __init__(self) -> None:
        self._array: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """The array, read-only.

        Raises:
            ValueError: The pickle does not say what is in it.
        """
        if self._array is None:
            raise ValueError("an array without content")
        return self._array

    def fill(self, dtype: np.dtype, shape: Any, data: Any, fortran: Any) -> None:
        """Set the content from its bytes, which must be exactly as many as the shape says."""
        data = data.encode("latin-1") if isinstance(data, str) else data  # as Python 2 wrote them
        whole = isinstance(shape, tuple) and all(type(side) is int and 0 <= side < 2**40 for side in shape)
        if not whole or len(shape) > 8 or not isinstance(data, bytes | bytearray):
            raise ValueError("an array whose shape or content is no such thing")
        if math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} and type {dtype} with {len(data)} bytes")
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        array.flags.writeable = False
        self._array = array


class _Dtype:
    """A type of numbers, to which the order of its bytes is added later."""

    def __init__(self, code: Any):
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise ValueError(f"numbers of type {str(code)[:40]!r}")
        self.dtype = np.dtype(code)

    def set_order(self, state: Any) -> None:
        # (version, byte order, and three entries for types of several fields, which are None)
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise ValueError("numbers of several fields")
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("numbers of an unknown order of bytes")
        self.dtype = self.dtype.newbyteorder(state[1]) if self.dtype.itemsize > 1 else self.dtype


class _Name:
    """Something that a pickle names, under its own name here."""

    def __init__(self, module: Any, name: Any):
        whole = f"{module} {name}"
        if whole not in _NAMES:
            raise ValueError(f"it names {whole[:80].replace(' ', '.')}")
        self.name = _NAMES[whole]


def read_plain_pickle(
    path: str | os.PathLike, error: type[VidreasonError] = ManifestError, max_instructions: int | None = None
) -> Any:
    """The content of a pickle of plain data. Nothing in the file is run.

    Arrays are `StoredArray`. Lists and dictionaries may hold themselves: whoever follows them must have an end.

    Args:
        path: The file.
        error: Kind of the error that is raised.
        max_instructions: Largest number of the pickle's instructions; `MAX_INSTRUCTIONS` if not set.

    Raises:
        ManifestError: It cannot be read, is larger than `MAX_BYTES`, or holds anything but plain data; or an error of
            the kind that was given.
    """
    path = Path(path)
    max_instructions = MAX_INSTRUCTIONS if max_instructions is None else max_instructions
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise error(f"{path}: has {size >> 20} MiB, expected at most {MAX_BYTES >> 20}")
        content = path.read_bytes()
    except OSError as failure:
        raise error(f"{path}: cannot be read ({failure})") from failure
    machine = _Machine()
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(io.BytesIO(content))):
            if count >= max_instructions:
                raise ValueError(f"it has more than {max_instructions} instructions")
            machine.position = position or 0
            machine.follow(opcode.name, argument)
        return machine.result()
    # all that broken content can lead to: texts and keys of other types, a stack that is too short, numbers too long
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, RecursionError) as failure:
        problem = str(failure).splitlines()[0][:200] if str(failure) else type(failure).__name__
        raise error(
            f"{path}: no pickle of plain data, at byte {machine.position}: {problem} (nothing in it was run)"
        ) from failure


class _Machine:
    """The stack and the memory of a pickle's program, for the instructions that make plain data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.position = 0  # in the file, for messages

    def result(self) -> Any:
        """What is left at the end."""
        (value,) = self.stack
        return value

    def follow(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in _IGNORED:
            return
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise ValueError(f"the instruction {name}")

    def above_mark(self) -> list[Any]:
        """What lies above the last mark; it is taken off, with the mark."""
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth] is _MARK:
                items = self.stack[depth + 1 :]
                del self.stack[depth:]
                return items
        raise ValueError("no mark")

    def pop(self, kind: type | tuple[type, ...] = object) -> Any:
        """The uppermost item, which must be of a kind."""
        item = self.stack.pop()
        if not isinstance(item, kind) or item is _MARK:
            raise ValueError(f"{type(item).__name__} where it does not belong")
        return item

    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("items for what is no list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("entries for what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # the hash of nested tuples would be followed to any depth
            if not isinstance(key, str | int | float | bytes):
                raise ValueError(f"a key of type {type(key).__name__}")
            target[key] = value

    def call(self) -> None:
        """What is called is one of few names, each of which stands for an item of plain data."""
        arguments, named = self.pop(tuple), self.pop(_Name)
        self.stack.append(_made_of(named.name, arguments))

    def build(self) -> None:
        state, target = self.pop(tuple), self.stack[-1]
        if isinstance(target, StoredArray):
            _, shape, dtype, fortran, data = state
            target.fill(dtype.dtype, shape, data, fortran)
        elif isinstance(target, _Dtype):
            target.set_order(state)
        else:
            raise ValueError(f"content for {type(target).__name__}")


def _made_of(name: str, arguments: tuple[Any, ...]) -> Any:
    """The item of plain data that a call stands for."""
    if name == "_reconstruct":
        return StoredArray()
    if name == "dtype":
        return _Dtype(arguments[0])
    if name == "dict":  # an ordered or a default dictionary begins empty
        return {}
    if name == "bytes" and not arguments:
        return b""
    if name == "set":  # a list, in the file's order: what is in it need not have a hash here
        (items,) = arguments
        if not isinstance(items, list):
            raise ValueError("a set of what is no list")
        return list(items)
    if name == "encode":
        text, encoding = arguments
        if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
            raise ValueError("a text in another encoding than latin1")
        return text.encode("latin-1")
    if name == "scalar":
        dtype, data = arguments
        number = StoredArray()
        number.fill(dtype.dtype, (), data, False)
        return number.array.item()
    if name == "_frombuffer":
        data, dtype, shape, order = arguments
        array = StoredArray()
        array.fill(dtype.dtype, shape, data, order == "F")
        return array
    raise ValueError(f"a call of {name}")


_IGNORED = {"PROTO", "FRAME", "STOP"}
_PUSHED = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": lambda: _MARK,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}


def _last(machine: _Machine, count: int) -> list[Any]:
    """The uppermost items, taken off."""
    return [machine.pop() for _ in range(count)][::-1]


def _new_dict(machine: _Machine, _: Any) -> None:
    items = machine.above_mark()
    machine.stack.append({})
    machine.set_items(items)


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "POP": lambda machine, _: machine.stack.__delitem__(-1),
    "POP_MARK": lambda machine, _: machine.above_mark().clear(),
    "LIST": lambda machine, _: machine.stack.append(machine.above_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(tuple(_last(machine, 1))),
    "TUPLE2": lambda machine, _: machine.stack.append(tuple(_last(machine, 2))),
    "TUPLE3": lambda machine, _: machine.stack.append(tuple(_last(machine, 3))),
    "DICT": _new_dict,
    "APPEND": lambda machine, _: machine.append(_last(machine, 1)),
    "APPENDS": lambda machine, _: machine.append(machine.above_mark()),
    "SETITEM": lambda machine, _: machine.set_items(_last(machine, 2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.above_mark()),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "GLOBAL": lambda machine, name: machine.stack.append(_Name(*str(name).split(" ", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.stack.append(_Name(*_last(machine, 2))),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
