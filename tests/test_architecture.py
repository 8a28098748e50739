"""Rules of imports that import-linter's contracts (`pyproject.toml`, `make lint`) cannot say, and the oldest Python.

The contracts forbid; they cannot allow a list and nothing else, nor tell an import at the top from one in a function,
nor what is loaded by what is loaded. `test_contracts.py` shows that each contract is caught when it is broken.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("vidreason", "modeling_tsvit", "modeling_a2o", "datasets_scripts", "space_app", "benchmarks")
NEWER_THAN_3_10 = {
    "tomllib",
    "typing.Self",
    "typing.Never",
    "typing.assert_never",
    "typing.TypeIs",
    "enum.StrEnum",
    "datetime.UTC",
}


class Import(NamedTuple):
    """A statement that imports, or `import_module` of a name that is written out."""

    where: str
    names: tuple[str, ...]  # "a.b" and "a.b.c" of `from a.b import c`; a relative import begins with its dots
    lazy: bool  # inside a function, or for type checkers only

    @property
    def packages(self) -> set[str]:
        """Outermost packages, "" for a sibling."""
        return {name.split(".")[0] for name in self.names}


def is_deferred(node: ast.AST) -> bool:
    """Whether what a node holds is left alone when its file is imported."""
    for_checkers = isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING"
    return for_checkers or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, those in functions included; SyntaxError where the oldest Python cannot read it."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield Import(where, tuple(alias.name for alias in node.names), lazy)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield Import(where, (base, *(f"{base}.{alias.name}" for alias in node.names)), lazy)
        elif is_import_module(node):
            yield Import(where, (ast.literal_eval(node.args[0]),), lazy)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, lazy or is_deferred(node))

    return visit(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10)), False)


def is_import_module(node: ast.AST) -> bool:
    """Whether it is `import_module("...")`, with the name written out."""
    called = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1]
    return called in ("import_module", "__import__") and bool(node.args) and isinstance(node.args[0], ast.Constant)


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


STANDARD_LIBRARY = set(sys.stdlib_module_names)
ALLOWED = {
    "modeling_*/*.py": {"", "torch", "transformers", *STANDARD_LIBRARY},
    "vidreason/**/losses.py": {"torch", "__future__"},
    "vidreason/attention/normalize.py": {"torch", "__future__"},
    "vidreason/metrics/*/*.py": {"", "numpy", "datasets", "evaluate"},
}
FLAT = ("modeling_*/*.py", "vidreason/metrics/*/*.py")


def not_allowed(root: Path) -> list[str]:
    """Imports of parts that stand alone which their lists lack."""
    return [
        f"{entry.where} imports {entry.names[0]}"
        for pattern, allowed in ALLOWED.items()
        for path in sorted(root.glob(pattern))
        for entry in imports_of(path)
        if not entry.packages <= allowed
        # what losses share, which is torch alone by this same list
        and not (path.name == "losses.py" and entry.names[0].endswith(("attention.normalize", ".losses")))
        # a video processor decodes with PyAV where it is given paths; without it a model still loads
        and not (entry.lazy and entry.names == ("av",))
    ]


def not_siblings(root: Path) -> list[str]:
    """Relative imports that leave the folder; the Hub's loader and `evaluate.load` copy siblings, `.name`, alone."""
    return [
        entry.where
        for pattern in FLAT
        for path in sorted(root.glob(pattern))
        for entry in imports_of(path)
        if entry.names[0].startswith(".") and "." in entry.names[0][1:]
    ]


def several_a_line(root: Path) -> list[str]:
    """`import a, b` of metric modules: `evaluate` reads imports by an expression that takes one name from a line."""
    return [
        entry.where
        for path in sorted(root.glob("vidreason/metrics/*/*.py"))
        for entry in imports_of(path)
        if len(entry.names) > 1 and not entry.names[1].startswith(entry.names[0])
    ]


def early_clients(root: Path) -> list[str]:
    """`import vidreason.llm` works without the extra, and does not take the client's half second."""
    entries = [entry for path in sorted(root.glob("vidreason/**/*.py")) for entry in imports_of(path)]
    return [entry.where for entry in entries if "openai" in entry.packages and not entry.lazy]


HIDDEN = re.compile(
    r"(?:import_module|__import__)\(\s*[\"'](?:vidreason|modeling_|space_app|datasets_scripts|benchmarks|train)\b"
)


def hidden_imports(root: Path) -> list[str]:
    """Imports of this project by a name in a string, which no contract of import-linter sees."""
    paths = [*root.glob("vidreason/**/*.py"), *root.glob("space_app/**/*.py")]
    return [path.relative_to(root).as_posix() for path in sorted(paths) if HIDDEN.search(path.read_text("utf-8"))]


def trainers_in_the_space(root: Path) -> list[str]:
    """The Space trains nothing; its contract names our trainers, and cannot name one class of transformers."""
    entries = [entry for path in sorted(root.glob("space_app/**/*.py")) for entry in imports_of(path)]
    return [entry.where for entry in entries if any(name.split(".")[-1].endswith("Trainer") for name in entry.names)]


def encoders_that_crash(root: Path) -> list[str]:
    """What a user runs never encodes by libx265, for the reason in `tests/fixtures/odd_videos.py`."""
    folders = ("vidreason", "modeling_*", "space_app", "datasets_scripts", "benchmarks", "recipes")
    paths = {*root.glob("*.py"), *(path for folder in folders for path in root.glob(f"{folder}/**/*.*"))}
    sources = [path for path in sorted(paths) if path.suffix in (".py", ".yaml", ".json", ".sh")]
    return [path.relative_to(root).as_posix() for path in sources if "x265" in path.read_text("utf-8")]


OPENERS = ("vidreason/video/decode.py", "modeling_tsvit/video_processing_tsvit.py")  # the library's, the Hub's
READING = re.compile(r"\bav\.(?:container\.)?open\((?![^\n]*\"w\")")


def other_openings(root: Path) -> list[str]:
    """Files that are given to FFmpeg to read past the function that keeps it from what their names and texts name."""
    paths = [path for folder in PACKAGES for path in sorted(root.glob(f"{folder}/**/*.py"))]
    names = [path.relative_to(root).as_posix() for path in paths if READING.search(path.read_text("utf-8"))]
    return [name for name in names if name not in OPENERS]


RULES = (
    *(not_allowed, not_siblings, several_a_line, early_clients, hidden_imports, trainers_in_the_space),
    encoders_that_crash,
    other_openings,
)


@pytest.mark.parametrize("rule", RULES)
def test_the_project_keeps(rule):
    assert all(list(ROOT.glob(pattern)) for pattern in ALLOWED), "a list for files that are not there tests nothing"
    assert rule(ROOT) == []


@pytest.mark.parametrize(
    ("path", "source", "broken"),
    [
        ("modeling_tsvit/a.py", "def f():\n    import decord", {not_allowed}),
        ("modeling_tsvit/a.py", "import av", {not_allowed}),
        ("modeling_a2o/a.py", "from modeling_tsvit import TSViTConfig", {not_allowed}),
        ("modeling_tsvit/a.py", "def f():\n    import_module('av')", set()),
        ("modeling_tsvit/a.py", "from .layers.attention import A", {not_siblings}),
        ("modeling_tsvit/a.py", "from .layers import A\nfrom . import layers\nimport torch.nn\nimport math", set()),
        ("vidreason/rs/losses.py", "from .config import RSConfig", {not_allowed}),
        ("vidreason/rs/losses.py", "import einops", {not_allowed}),
        ("vidreason/rs/losses.py", "import torch\nfrom ..attention.normalize import f", set()),
        ("vidreason/metrics/mof/mof.py", "import os", {not_allowed}),
        ("vidreason/metrics/mof/mof.py", "from ...errors import E", {not_siblings}),
        ("vidreason/metrics/mof/mof.py", "import datasets, evaluate", {several_a_line}),
        ("vidreason/metrics/mof/mof.py", "import datasets\nfrom .help import f", set()),
        ("vidreason/llm/client.py", "try:\n    import openai\nexcept ImportError:\n    pass", {early_clients}),
        ("vidreason/llm/client.py", "if TYPE_CHECKING:\n    from openai import A", set()),
        ("vidreason/video/a.py", "import_module('vidreason.training.run')", {hidden_imports}),
        ("vidreason/video/a.py", "import_module('datatrove')", set()),
        ("vidreason/video/a.py", "container.add_stream('libx265')", {encoders_that_crash}),
        ("recipes/a.yaml", "encoder: libx265", {encoders_that_crash}),
        ("vidreason/video/a.py", "container.add_stream('libx264')\nDECODED = ('h264', 'hevc')", set()),
        ("space_app/a.py", "from transformers import Trainer", {trainers_in_the_space}),
        ("vidreason/rs/a.py", "import av\nwith av.open(str(path)) as container:\n    pass", {other_openings}),
        ("vidreason/rs/a.py", 'import av\nwith av.open(str(path), "w") as container:\n    pass', set()),
    ],
)
def test_a_broken_rule_is_found(tmp_path, path, source, broken):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    assert {rule for rule in RULES if rule(tmp_path)} == broken


def test_every_file_runs_on_the_oldest_python(tmp_path):
    assert refused_by_3_10([*python_files(*PACKAGES, "tests"), *sorted(ROOT.glob("*.py"))]) == []
    newer = ["import tomllib", "from enum import StrEnum", "try:\n    pass\nexcept* ValueError:\n    pass\n"]
    for index, source in enumerate(newer):
        (tmp_path / f"{index}.py").write_text(source)
    assert len(refused_by_3_10(sorted(tmp_path.glob("*.py")))) == len(newer)


def refused_by_3_10(paths: list[Path]) -> list[str]:
    """Files that Python 3.10 cannot read, and imports that it does not have."""
    refused = []
    for path in paths:
        try:
            refused += [entry.where for entry in imports_of(path) if NEWER_THAN_3_10 & set(entry.names)]
        except SyntaxError as error:
            refused.append(f"{path}: {error}")
    return refused


@pytest.mark.parametrize("room", ["", "guidance", "manifests", "video", "llm", "metrics"])
def test_light_rooms_load_nothing_heavy(room):
    """The rule as it is felt: what other packages import counts here too."""
    folder = ROOT / "vidreason" / room
    stems = [path.stem for path in sorted(folder.glob("*.py")) if room and path.stem != "__init__"]
    package = ".".join(["vidreason", *([room] if room else [])])
    modules = [package, *(f"{package}.{stem}" for stem in stems)]
    # of aiohttp only what serves: `datasets` reads addresses by its client
    heavy = {"torch", "transformers", "accelerate", "openai", "aiohttp.web", "matplotlib", "gradio"}
    program = f"import sys, {', '.join(modules)}; print(sorted({heavy} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"
