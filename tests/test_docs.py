"""The pages' commands name scripts, flags and files that there are."""

import importlib
import re
import runpy
import shlex
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BASH_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


# commands of the wheel -> "module:function"
INSTALLED = dict(re.findall(r'^(vidreason-\w+) = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE))
BUILDERS = [path.stem.removeprefix("build_").replace("_", "-") for path in ROOT.glob("datasets_scripts/build_*.py")]
SUBCOMMANDS = {
    "vidreason.study": ("run", "tables"),
    "vidreason-study": ("run", "tables"),
    "vidreason-build": BUILDERS,
    "vidreason.videoqa": ("score", "judge", "answer", "make_tiny"),
}


def is_entry(word: str, before: str) -> bool:
    """Whether a word names what is run: a script, a command of the wheel, or a module after `-m`."""
    if word in INSTALLED:
        return True
    return (word.endswith(".py") and "tests/" not in word) or (before == "-m" and word.startswith("vidreason."))


def commands_of(page: Path) -> list[list[str]]:
    """The words of each command that runs a script or module of this repository, from its name on."""
    found = []
    for block in BASH_BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            entries = [place for place, word in enumerate(words) if is_entry(word, words[place - 1] if place else "")]
            if entries:
                found.append(words[entries[0] :])
    return found


COMMANDS = [(page.relative_to(ROOT).as_posix(), command) for page in PAGES for command in commands_of(page)]


@pytest.fixture(scope="module")
def help_of():
    """The help text of a script, or of a module or one of its subcommands, asked for once."""
    texts = {}

    def get(entry: str, subcommand: list[str], capsys, monkeypatch) -> str:
        key = (entry, *subcommand)
        if key not in texts:
            monkeypatch.setattr(sys, "argv", [entry, *subcommand, "--help"])
            with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
                if entry.endswith(".py"):
                    monkeypatch.syspath_prepend(str((ROOT / entry).parent))  # as Python does for a script
                    runpy.run_path(str(ROOT / entry), run_name="__main__")
                elif entry in INSTALLED:
                    module, function = INSTALLED[entry].split(":")
                    getattr(importlib.import_module(module), function)()
                else:
                    warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)  # by another test
                    runpy.run_module(entry, run_name="__main__", alter_sys=True)
            assert ended.value.code == 0
            texts[key] = capsys.readouterr().out
        return texts[key]

    return get


def test_the_pages_have_commands():
    scripts = {command[0] for _, command in COMMANDS}
    assert {"train.py", "datasets_scripts/annotate.py", "datasets_scripts/publish.py", "vidreason.study"} <= scripts
    assert {"vidreason-build", "vidreason-train"} <= scripts
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{command[0]}" for page, command in COMMANDS])
def test_commands_name_flags_that_there_are(page, command, help_of, capsys, monkeypatch):
    script, *words = command
    assert not script.endswith(".py") or (ROOT / script).is_file(), f"{page} runs {script}"
    subcommand = [word for word in words[:1] if word in SUBCOMMANDS.get(script, ())]
    known = set(re.findall(r"--[A-Za-z0-9_-]+", help_of(script, subcommand, capsys, monkeypatch)))
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    assert not unknown, f"{page} gives {script} {unknown}"
    recipes = [word.split("=")[-1] for word in words if word.endswith(".yaml")]  # name=path too
    assert all((ROOT / recipe).is_file() for recipe in recipes), f"{page} names {recipes}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    broken = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not broken


PATHS = re.compile(
    r"`((?:vidreason|modeling_tsvit|modeling_a2o|tests|datasets_scripts|recipes|benchmarks|space_app|docs|model_cards)/[\w./-]+)`"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    missing = [name for name in PATHS.findall(page.read_text(encoding="utf-8")) if not (ROOT / name).exists()]
    assert missing == []
