"""The pages' commands name scripts, flags and files that there are."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BASH_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def commands_of(page: Path) -> list[list[str]]:
    """The words of each command that runs a script of this repository, from the script on."""
    found = []
    for block in BASH_BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            scripts = [place for place, word in enumerate(words) if word.endswith(".py") and "tests/" not in word]
            if scripts:
                found.append(words[scripts[0] :])
    return found


COMMANDS = [(page.relative_to(ROOT).as_posix(), command) for page in PAGES for command in commands_of(page)]


@pytest.fixture(scope="module")
def help_of():
    """The help text of a script, asked for once."""
    texts = {}

    def get(script: str, capsys, monkeypatch) -> str:
        if script not in texts:
            monkeypatch.setattr(sys, "argv", [script, "--help"])
            monkeypatch.syspath_prepend(str((ROOT / script).parent))  # as Python does for a script
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(str(ROOT / script), run_name="__main__")
            assert ended.value.code == 0
            texts[script] = capsys.readouterr().out
        return texts[script]

    return get


def test_the_pages_have_commands():
    scripts = {command[0] for _, command in COMMANDS}
    assert {"train.py", "datasets_scripts/annotate.py", "datasets_scripts/publish.py"} <= scripts
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{command[0]}" for page, command in COMMANDS])
def test_commands_name_flags_that_there_are(page, command, help_of, capsys, monkeypatch):
    script, *words = command
    assert (ROOT / script).is_file(), f"{page} runs {script}"
    known = set(re.findall(r"--[A-Za-z0-9_-]+", help_of(script, capsys, monkeypatch)))
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    assert not unknown, f"{page} gives {script} {unknown}"
    recipes = [word for word in words if word.endswith(".yaml")]
    assert all((ROOT / recipe).is_file() for recipe in recipes), f"{page} names {recipes}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    broken = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not broken
