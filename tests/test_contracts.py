"""Each contract of `pyproject.toml` is caught when it is broken, and so is an error of types.

The tree is copied, files that break a contract are added, and what `make lint` runs must fail and name each.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("importlinter", reason="make lint installs it")
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"

# contract -> files to add, and what they say; one way to break it a line
VIOLATIONS = {
    "floors": {
        "vidreason/somewhere.py": "",  # a module of no floor
        "vidreason/video/up.py": "def late():\n    from vidreason.training import arguments",
        "vidreason/a2o/__init__.py": "",
        "vidreason/a2o/agent.py": "from ..rs import config",  # one system of another
    },
    "cycles": {
        "vidreason/reporting/hen.py": "from . import egg",
        "vidreason/reporting/egg.py": "from . import hen",
    },
    "ends": {
        "vidreason/audit/end.py": "import train",
        "vidreason/study/end.py": "from datasets_scripts.annotate import main",
        "modeling_tsvit/end.py": "import space_app.clipview.page",
        "datasets_scripts/end.py": "import benchmarks.common",
    },
    "hub": {
        "modeling_tsvit/not_alone.py": "import numpy",
        "modeling_tsvit/nor_this.py": "def late():\n    from vidreason.errors import VidreasonError",
        "modeling_a2o/not_alone.py": "import torchvision",
    },
    "exports": {"modeling_a2o/of_another.py": "def late():\n    import modeling_tsvit"},
    "light": {
        "vidreason/guidance/heavy.py": "from vidreason.reporting import heavy",  # by another room too
        "vidreason/reporting/heavy.py": "def late():\n    import torch",
        "vidreason/llm/drawn.py": "import matplotlib.pyplot",
    },
    "losses": {
        "vidreason/rs/more/__init__.py": "",
        "vidreason/rs/more/losses.py": "from ..config import RSConfig",
        "vidreason/a2o/losses.py": "import numpy",
        "vidreason/attention/normalize.py": "import scipy",
    },
    "openai": {"vidreason/annotation/asks.py": "def late():\n    import openai"},
    "servers": {"vidreason/llm/serves.py": "import aiohttp"},
    "space": {
        "space_app/clipview/key.py": "from vidreason.llm import client",
        "space_app/clipview/learns.py": "from vidreason.rs.trainer import RSTrainer",
    },
}


def contracts() -> dict[str, str]:
    """Names of the contracts by their ids."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return dict(re.findall(r'^\[\[tool\.importlinter\.contracts\]\]\nid = "(.+)"\nname = "(.+)"$', text, re.MULTILINE))


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """What lint-imports says of the tree with all violations in it: one run for all."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    for package in ("vidreason", "modeling_tsvit", "modeling_a2o", "datasets_scripts", "space_app", "benchmarks"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for files in VIOLATIONS.values():
        for path, source in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            with (folder / path).open("a", encoding="utf-8") as file:
                file.write(f"\n{source}\n")
    command = [sys.executable, "-c", LINT_IMPORTS, "--no-cache"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert finished.returncode != 0
    assert "Broken contracts" in finished.stdout, finished.stdout + finished.stderr
    return " ".join(finished.stdout.split())  # names are wrapped to the terminal's width


def test_every_contract_has_a_violation():
    assert set(VIOLATIONS) == set(contracts())


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_the_contract_is_reported_broken(report, contract):
    assert f"{contracts()[contract]} BROKEN" in report


IMPORTS = [(contract, path) for contract, files in VIOLATIONS.items() for path in files if files[path]]


@pytest.mark.parametrize(("contract", "path"), [pair for pair in IMPORTS if pair[0] != "cycles"])
def test_the_import_is_named(report, contract, path):
    """A contract may be broken by another file too."""
    module = re.sub(r"(/__init__)?\.py$", "", path).replace("/", ".")
    assert f"{module} -> " in report


def test_the_cycle_is_named(report):
    assert "No cycles are allowed in vidreason.reporting" in report


def test_a_room_of_no_floor_is_named(report):
    assert "somewhere" in report


def test_an_error_of_types_is_caught(tmp_path):
    """By the project's own settings, which must not have been loosened so far that nothing is found."""
    pytest.importorskip("mypy")
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = settings.replace('packages = ["vidreason", "modeling_tsvit", "modeling_a2o"]', 'files = ["wrong.py"]')
    (tmp_path / "pyproject.toml").write_text(settings, encoding="utf-8")
    (tmp_path / "wrong.py").write_text(
        "def double(number):\n    text: str = 2 * 1\n    return text\n\n\n"  # unannotated, yet checked
        "def halved(number: float) -> int:\n    return number / 2\n\n\n"
        "first: int = 'a'  # type: ignore\n",  # without a code
        encoding="utf-8",
    )
    finished = subprocess.run([sys.executable, "-m", "mypy"], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 1, finished.stderr
    assert re.findall(r"wrong\.py:(\d+): error: .*\[([a-z-]+)\]", finished.stdout) == [
        ("2", "assignment"),
        ("7", "return-value"),
        ("10", "ignore-without-code"),
    ]
