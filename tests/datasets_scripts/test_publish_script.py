"""The script, run as a user runs it, and its push to a stand-in for the Hub."""

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest

from vidreason.guidance import FEATURES, guidance_row, write_guidance
from vidreason.publishing import guidance_folder as publishing
from vidreason.publishing.guidance_card import read_prompt_texts

SCRIPT = Path(__file__).parents[2] / "datasets_scripts" / "publish.py"
PROMPT = Path(__file__).parents[2] / "vidreason" / "annotation" / "grid" / "prompt_texts" / "ucf.txt"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Guidance that says it comes from a prompt of the library."""
    (sha256,) = read_prompt_texts([PROMPT])
    rows = []
    for index in range(5):
        key = {"video_id": "tap/a", "source": "tests@1", "split": "train", "frame_index": index}
        key |= {"timestamp_s": index / 10, "frame_height": 48, "frame_width": 64}
        rows.append(guidance_row(key, [0, 1, 0, 0], (2, 2), producer="llm", prompt_id="ucf-1", prompt_sha256=sha256))
    return write_guidance(tmp_path_factory.mktemp("table") / "guidance", {"train": rows})


def run(*flags):
    return subprocess.run([sys.executable, SCRIPT, *map(str, flags)], capture_output=True, text=True)


def test_nothing_is_sent_without_being_told(table, tmp_path):
    flags = ["--guidance", table, "--out", tmp_path / "out", "--repo_id", "org/name", "--license", "cc0-1.0"]
    done = run(*flags, "--max_rows_per_file", 3)
    assert done.returncode == 0, done.stderr
    assert "nothing was sent; with --push these files would go to org/name" in done.stdout
    assert "bytes  data/train-00001-of-00002.parquet" in done.stdout
    assert "5 rows" in done.stdout
    card = (tmp_path / "out" / "README.md").read_text()
    assert PROMPT.read_text().strip() in card  # found among the library's own, by its hash
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features == FEATURES and len(loaded["train"]) == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--push"], "error: --push needs --repo_id, the place on the Hub"),
        (["--with_pixels"], "error: --with_pixels needs --manifest, which tells where the videos are"),
        (["--max_rows_per_file", "0"], "error: max_rows of a Parquet file is 0, expected at least 1"),
    ],
)
def test_a_mistake_ends_with_one_line(table, tmp_path, flags, message):
    done = run("--guidance", table, "--out", tmp_path / "out", *flags)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == message
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_push_sends_what_was_written(table, tmp_path, monkeypatch, capsys):
    calls = []

    class FakeHub:
        def create_repo(self, repo_id, **settings):
            calls.append(("create", repo_id, settings["private"]))

        def repo_info(self, repo_id, repo_type):
            return SimpleNamespace(private=True)

        def upload_folder(self, folder_path, **settings):
            calls.append(("upload", settings["repo_id"], sorted(path.name for path in folder_path.iterdir())))
            return SimpleNamespace(commit_url="https://hub/commit")

    monkeypatch.setattr(publishing, "HfApi", FakeHub)
    flags = ["--guidance", table, "--out", tmp_path / "out", "--repo_id", "org/name", "--push", "--private"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, flags)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 0
    assert calls == [
        ("create", "org/name", True),
        ("upload", "org/name", ["README.md", "data", "example.png"]),
    ]
    assert "published: https://hub/commit" in capsys.readouterr().out
