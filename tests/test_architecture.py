"""Who may import whom, how long a file or function may be, and which Python it must run on.

The rules are read off the imports of every file, those inside functions included. Numbers in the messages:

1. `modeling_tsvit` imports the standard library, torch, transformers and its own siblings: it runs alone on the Hub.
   PyAV, which transformers' video pipeline demands anyway, may be loaded inside the function that decodes.
2. `guidance` imports no torch, transformers, openai, nor any system; `video` imports no system.
3. `llm` imports no torch, no guidance, no system, and openai only inside functions.
4. `rs`, `a2o`, `step` and `cotasks` never import one another.
5. A losses module imports torch only; a metric module numpy, datasets, evaluate and siblings, one to a line.
6. Nothing imports `train.py`, `datasets_scripts`, `space_app` or `benchmarks`; `space_app` no `llm` and no trainer.
7. `import vidreason` is cheap: no torch, no transformers.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("vidreason", "modeling_tsvit", "datasets_scripts", "space_app", "benchmarks")

SYSTEMS = ("rs", "a2o", "step", "cotasks")
TORCH = ("torch", "torchvision", "torchaudio", "torchcodec", "accelerate")
LAZY_ON_THE_HUB = ("av",)  # absent, the model still loads, and takes frames that were decoded elsewhere
ENDS = ("train", "datasets_scripts", "space_app", "benchmarks")
NEWER_THAN_3_10 = ("tomllib", "typing.Self", "typing.Never", "typing.assert_never", "enum.StrEnum", "datetime.UTC")

MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 60


@dataclass(frozen=True)
class Import:
    """One imported name.

    Args:
        names: the absolute dotted names it may stand for: `from a import b` is "a" and "a.b".
        line: in the file.
        level: dots of a relative import, else 0.
        at_import: runs when the file is imported, not in a function nor for type checkers only.
        alone: is the only name of its statement.
    """

    names: tuple[str, ...]
    line: int
    level: int
    at_import: bool
    alone: bool

    @property
    def top(self) -> str:
        return self.names[0].split(".")[0]

    def is_in(self, *modules: str) -> bool:
        return any(name == module or name.startswith(f"{module}.") for name in self.names for module in modules)


def read_imports(path: PurePosixPath, source: str) -> list[Import]:
    """Every import of a file, `import_module("...")` and `__import__("...")` included."""
    found: list[Import] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        found.extend(_imports_of(node, path, at_import))
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING"
        )
        for child in ast.iter_child_nodes(node):
            visit(child, at_import and not deferred)

    visit(ast.parse(source), True)
    return found


def _imports_of(node: ast.AST, path: PurePosixPath, at_import: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import((alias.name,), node.lineno, 0, at_import, len(node.names) == 1)
    elif isinstance(node, ast.ImportFrom):
        package = path.parts[: max(0, len(path.parts) - node.level)] if node.level else ()
        base = ".".join([*package, *([node.module] if node.module else [])])
        for alias in node.names:
            yield Import((base, f"{base}.{alias.name}"), node.lineno, node.level, at_import, True)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        name = node.args[0].value
        if ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__") and isinstance(name, str):
            yield Import((name,), node.lineno, 0, at_import, True)


def find_violations(path: str, source: str) -> list[str]:
    """The rules that a file breaks by its imports.

    Args:
        path: of the file from the root of the repository, in POSIX form.
        source: its text.
    """
    place = PurePosixPath(path)
    violations = []
    for entry in read_imports(place, source):
        for broken in (*_broken_allowances(place, entry), *_broken_bans(place, entry)):
            violations.append(f"{path}:{entry.line}: rule {broken} (imports {entry.names[-1]})")
    return violations


def _broken_allowances(place: PurePosixPath, entry: Import) -> Iterator[str]:
    """Rules that list what a file may import."""
    sibling = entry.level == 1
    if place.parts[0] == "modeling_tsvit":
        flat = sibling and all(name.count(".") <= 2 for name in entry.names)
        lazy = not entry.at_import and entry.top in LAZY_ON_THE_HUB
        if not (flat or lazy) and entry.top not in {*sys.stdlib_module_names, "torch", "transformers"}:
            yield "1: the Hub export unit stands alone"
    if place.name == "losses.py" and entry.top not in ("torch", "__future__"):
        yield "5: a losses module imports torch only"
    if place.match("vidreason/metrics/*/*.py"):
        if not sibling and entry.top not in ("numpy", "datasets", "evaluate"):
            yield "5: a metric module imports numpy, datasets, evaluate and siblings only"
        if not entry.alone:
            yield "5: a metric module has one import per line"


def _broken_bans(place: PurePosixPath, entry: Import) -> Iterator[str]:
    """Rules that list what a file must not import."""
    room = place.parts[1] if len(place.parts) > 2 and place.parts[0] == "vidreason" else None
    systems = [f"vidreason.{system}" for system in SYSTEMS if system != room]
    if room == "guidance" and entry.is_in(*TORCH, "transformers", "openai", "modeling_tsvit"):
        yield "2: guidance imports no torch, transformers or openai"
    if room in ("guidance", "video") and entry.is_in(*systems):
        yield f"2: {room} imports no system"
    if room == "llm" and entry.is_in(*TORCH, "modeling_tsvit", "vidreason.guidance", *systems):
        yield "3: llm imports no torch, no guidance, no system"
    if room == "llm" and entry.at_import and entry.is_in("openai"):
        yield "3: openai is imported where a client is made"
    if room in SYSTEMS and entry.is_in(*systems):
        yield "4: systems never import one another"
    if entry.is_in(*(end for end in ENDS if end != place.parts[0])):
        yield "6: nothing imports the ends of the project"
    if place.parts[0] == "space_app":
        trainer = any("trainer" in name.split(".")[-1].lower() for name in entry.names)
        if trainer or entry.is_in("vidreason.llm", "openai"):
            yield "6: the Space imports no llm client and no trainer"
    if str(place) == "vidreason/__init__.py" and entry.is_in(*TORCH, "transformers", "modeling_tsvit", *systems):
        yield "7: importing vidreason is cheap"
    if entry.is_in(*NEWER_THAN_3_10):
        yield "of the oldest Python: 3.10 does not have it"


def find_long_parts(path: str, source: str, max_file_lines: int, max_function_lines: int | None) -> list[str]:
    """A file and functions in it that are longer than they may be. None sets no limit to functions."""
    num_lines = len(source.splitlines())
    offenders = [f"{path}: {num_lines} lines, at most {max_file_lines}"] if num_lines > max_file_lines else []
    for node in ast.walk(ast.parse(source)) if max_function_lines else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if length > max_function_lines:
                offenders.append(f"{path}:{node.lineno}: {node.name} has {length} lines, at most {max_function_lines}")
    return offenders


def python_files(*folders: str) -> dict[str, str]:
    """Text of the Python files of some folders of the repository, by path from its root."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


@pytest.fixture(scope="module")
def project() -> dict[str, str]:
    """All files that rules speak of: the packages, and scripts such as `train.py` at the root."""
    scripts = {path.name: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.py"))}
    return {**python_files(*PACKAGES), **scripts}


# The project


def test_the_project_is_read(project):
    assert {"vidreason/__init__.py", "vidreason/errors.py", "vidreason/metrics/pointing/pointing.py"} <= set(project)


def test_nobody_imports_whom_they_may_not(project):
    violations = [violation for path, source in project.items() for violation in find_violations(path, source)]
    assert violations == []


def test_files_and_functions_are_short(project):
    long_parts = [
        part
        for path, source in project.items()
        for part in find_long_parts(path, source, MAX_FILE_LINES, MAX_FUNCTION_LINES)
    ]
    long_parts += [
        part
        for path, source in python_files("tests").items()
        for part in find_long_parts(path, source, MAX_FILE_LINES, None)
    ]
    assert long_parts == []


def test_every_file_parses_on_the_oldest_python(project):
    refused = []
    for path, source in {**project, **python_files("tests")}.items():
        try:
            ast.parse(source, filename=path, feature_version=(3, 10))
        except SyntaxError as error:
            refused.append(f"{path}: {error}")
    assert not refused


@pytest.mark.parametrize("room", ["", "guidance", "video", "llm", "study", "metrics"])
def test_light_rooms_do_not_load_torch(room):
    """The rule as it is felt: what is imported by what is imported counts here too."""
    folder = ROOT / "vidreason" / room
    if not (folder / "__init__.py").exists():
        pytest.skip(f"vidreason/{room} is not part of the project yet")
    stems = [path.stem for path in sorted(folder.glob("*.py")) if room and path.stem != "__init__"]
    package = ".".join(["vidreason", *([room] if room else [])])
    modules = [package, *(f"{package}.{stem}" for stem in stems)]
    program = (
        f"import sys, {', '.join(modules)}; print(sorted({{'torch', 'transformers', 'openai'}} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"


# The checker


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("modeling_tsvit/modeling_tsvit.py", "import numpy as np", "rule 1"),
        ("modeling_tsvit/modeling_tsvit.py", "import torchvision", "rule 1"),
        ("modeling_tsvit/modeling_tsvit.py", "from vidreason.video import decode_frames", "rule 1"),
        ("modeling_tsvit/modeling_tsvit.py", "from modeling_tsvit.configuration_tsvit import A", "rule 1"),
        ("modeling_tsvit/modeling_tsvit.py", "from .layers.attention import A", "rule 1"),
        ("modeling_tsvit/modeling_tsvit.py", "import av", "rule 1"),
        ("modeling_tsvit/modeling_tsvit.py", "def f():\n    import decord", "rule 1"),
        ("modeling_tsvit/modeling_tsvit.py", "from ... import vidreason", "rule 1"),
        ("vidreason/guidance/geometry.py", "from torch import nn", "rule 2"),
        ("vidreason/guidance/geometry.py", "def f():\n    import transformers", "rule 2"),
        ("vidreason/guidance/store.py", "from ..rs import losses", "rule 2"),
        ("vidreason/guidance/store.py", "from .. import rs", "rule 2"),
        ("vidreason/video/decode.py", "import vidreason.a2o.adapter", "rule 2"),
        ("vidreason/llm/client.py", "import torch", "rule 3"),
        ("vidreason/llm/client.py", "from vidreason.guidance.schema import FEATURES", "rule 3"),
        ("vidreason/llm/client.py", "from ..step import questions", "rule 3"),
        ("vidreason/llm/client.py", "class A:\n    import openai", "rule 3"),
        ("vidreason/llm/client.py", "try:\n    from openai import OpenAI\nexcept ImportError:\n    pass", "rule 3"),
        ("vidreason/rs/trainer.py", "from ..cotasks.prompts import A", "rule 4"),
        ("vidreason/step/graphs.py", "def f():\n    from vidreason import rs", "rule 4"),
        ("vidreason/a2o/agent.py", "import importlib\nimportlib.import_module('vidreason.rs')", "rule 4"),
        ("vidreason/rs/losses.py", "import numpy", "rule 5"),
        ("vidreason/rs/losses.py", "from .config import RSConfig", "rule 5"),
        ("vidreason/metrics/pointing/pointing.py", "import torch", "rule 5"),
        ("vidreason/metrics/pointing/pointing.py", "import os", "rule 5"),
        ("vidreason/metrics/pointing/pointing.py", "from ...errors import VidreasonError", "rule 5"),
        ("vidreason/metrics/pointing/pointing.py", "import datasets, evaluate", "rule 5"),
        ("vidreason/rs/trainer.py", "import train", "rule 6"),
        ("vidreason/synthetic/world.py", "from datasets_scripts.build import main", "rule 6"),
        ("train.py", "import benchmarks.speed", "rule 6"),
        ("benchmarks/speed.py", "from space_app import app", "rule 6"),
        ("space_app/app.py", "from vidreason.llm import client", "rule 6"),
        ("space_app/app.py", "from vidreason.rs import RSTrainer", "rule 6"),
        ("space_app/app.py", "from transformers import Trainer", "rule 6"),
        ("vidreason/__init__.py", "from .rs import RSTrainer", "rule 7"),
        ("vidreason/__init__.py", "import transformers", "rule 7"),
        ("vidreason/reporting/tables.py", "from enum import StrEnum", "oldest Python"),
        ("train.py", "import tomllib", "oldest Python"),
    ],
)
def test_the_checker_finds(path, source, rule):
    violations = find_violations(path, source)
    assert violations, "nothing found"
    assert all(rule in violation and violation.startswith(f"{path}:") for violation in violations)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "modeling_tsvit/modeling_tsvit.py",
            "import math\nimport torch.nn as nn\nfrom transformers.utils import logging",
        ),
        ("modeling_tsvit/modeling_tsvit.py", "from .configuration_tsvit import TSViTConfig\nfrom . import layers"),
        (
            "vidreason/guidance/join.py",
            "import numpy\nfrom ..errors import GuidanceError\nfrom .schema import FEATURES",
        ),
        ("vidreason/video/decode.py", "import av\nfrom ..guidance import geometry"),
        ("vidreason/llm/client.py", "def make_client():\n    import openai\n    return openai.OpenAI()"),
        ("vidreason/llm/client.py", "if TYPE_CHECKING:\n    from openai import OpenAI"),
        ("vidreason/rs/trainer.py", "from .losses import f\nfrom ..guidance import A\nimport vidreason.rs.config"),
        ("vidreason/rs/losses.py", "from __future__ import annotations\nimport torch.nn.functional as F"),
        ("vidreason/metrics/pointing/pointing.py", "import datasets\nimport numpy as np\nfrom .helper import f"),
        ("benchmarks/speed.py", "from benchmarks.clips import make_clip\nfrom vidreason.rs import losses"),
        ("vidreason/rs/steps.py", "import transformers.trainer_utils\nfrom steps import a\nimport training"),
        ("space_app/app.py", "import gradio\nfrom vidreason.video import overlay"),
        ("vidreason/__init__.py", "__version__ = '1'"),
        ("vidreason/rs/probes.py", '"""A text that says import train and from vidreason.a2o import b."""'),
    ],
)
def test_the_checker_lets_pass(path, source):
    assert find_violations(path, source) == []


def test_long_parts_are_found():
    source = (
        "def short():\n    pass\n\n\nclass A:\n    @property\n    def long(self):\n        a = 1\n        return a\n"
    )
    assert find_long_parts("a.py", source, 9, 3) == []
    assert find_long_parts("a.py", source, 8, None) == ["a.py: 9 lines, at most 8"]
    assert find_long_parts("a.py", source, 9, 2) == ["a.py:7: long has 3 lines, at most 2"]


def test_newer_grammar_is_refused():
    with pytest.raises(SyntaxError):
        ast.parse("try:\n    pass\nexcept* ValueError:\n    pass\n", feature_version=(3, 10))
