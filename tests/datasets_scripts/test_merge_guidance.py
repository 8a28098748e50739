"""The script as it is started from a shell: merging, filling in, and mistakes that end with one line."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vidreason.annotation.job import AnnotationRun, read_run, write_run
from vidreason.guidance import guidance_row, load_guidance, write_guidance
from vidreason.manifests.manifest import load_manifest, manifest_row, write_manifest
from vidreason.video import probe_video, write_video

SCRIPT = Path(__file__).parents[2] / "datasets_scripts" / "merge_guidance.py"


@pytest.fixture(scope="module")
def script():
    """The script as a module: it is started many times here, and a process for each would take seconds."""
    spec = importlib.util.spec_from_file_location("merge_guidance_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def run(script, capsys, caplog, monkeypatch):
    """Start the script; returns its exit status, output, and errors with the log."""

    def start(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        caplog.clear()
        status = script.main()
        output, errors = capsys.readouterr()
        return status, output, caplog.text + errors

    return start


def row(video_id: str, index: int, weights, split: str = "train", producer: str = "llm") -> dict:
    key = {"video_id": video_id, "source": "clips@1", "split": split, "frame_index": index, "timestamp_s": index / 8}
    return guidance_row(key | {"frame_height": 32, "frame_width": 32}, list(weights), (1, 2), producer=producer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two videos of 12 frames at 8 per second, a manifest of them, and two tables with a row for some frames."""
    folder = tmp_path_factory.mktemp("merge")
    rows = []
    for name in ("a", "b"):
        path = folder / "videos" / "walk" / f"{name}.mp4"
        write_video(path, [np.full((32, 32, 3), 20 * number, dtype=np.uint8) for number in range(12)], fps=8)
        rows.append(manifest_row(f"walk/{name}.mp4", "walk", probe_video(path)))
    write_manifest(folder / "manifest", {"train": rows}, ["walk"], "clips@1", folder / "videos")
    one = [
        row("walk/a", 0, (1, 0)),
        row("walk/a", 8, (1, 0)),
        row("walk/gone", 0, (1, 0)),
        row("walk/gone", 2, (1, 0)),
    ]
    write_guidance(folder / "one", {"train": one})
    write_run(folder / "one", AnnotationRun("llm", policy="2 frames", label_in_prompt=True, totals={"cost_usd": 2.0}))
    other = [row("walk/a", 8, (0, 1), producer="motion"), row("walk/b", 1, (0, 1), producer="motion")]
    test = [row("walk/t", 1, (0, 1), "test", "motion")]
    write_guidance(folder / "other", {"train": other, "test": test})
    return folder


def test_tables_are_merged(run, folder, tmp_path):
    tables = [folder / "one", folder / "other"]
    status, output, errors = run("--tables", *tables, "--weights", 3, 1, "--out", tmp_path / "out")
    assert status == 0, errors
    assert "guidance for train, test is in" in output
    merged = load_guidance(tmp_path / "out")
    found = {(entry["video_id"], entry["frame_index"]): entry["weights"] for entry in merged["train"]}
    assert found == {
        ("walk/a", 0): [1, 0],
        ("walk/a", 8): [0.75, 0.25],
        ("walk/b", 1): [0, 1],
        ("walk/gone", 0): [1, 0],
        ("walk/gone", 2): [1, 0],
    }
    assert set(merged["train"]["producer"]) == {"merge"} and len(merged["test"]) == 1
    assert "Merged from one (weight 3), other (weight 1)." in (tmp_path / "out" / "README.md").read_text()
    facts = read_run(tmp_path / "out")
    assert (facts.label_in_prompt, facts.policy, facts.splits) == (True, "2 frames", ("train", "test"))
    assert facts.totals == {"cost_usd": 2.0}


def test_frames_in_between_are_filled_in(run, folder, tmp_path):
    tables = [folder / "one", folder / "other"]
    fill = ["--interpolate_fps", 4, "--manifest", folder / "manifest", "--max_gap_s", 1]
    status, _, errors = run("--tables", *tables, "--out", tmp_path / "out", *fill)
    assert status == 0, errors
    train = load_guidance(tmp_path / "out")["train"].to_list()
    filled = {entry["frame_index"]: entry for entry in train if entry["video_id"] == "walk/a"}
    assert list(filled) == [0, 2, 4, 6, 8]  # not 10: nothing is known after the last row
    assert {index: entry["producer"] for index, entry in filled.items()} == {
        0: "merge",
        2: "interpolate",
        4: "interpolate",
        6: "interpolate",
        8: "merge",
    }
    # from (1, 0) at frame 0 to the mean (0.5, 0.5) at frame 8
    assert [entry["weights"] for entry in filled.values()] == [
        [1, 0],
        [0.875, 0.125],
        [0.75, 0.25],
        [0.625, 0.375],
        [0.5, 0.5],
    ]
    assert filled[4]["timestamp_s"] == pytest.approx(0.5)
    assert "walk/gone (train) is not in the manifest; its rows stay as they are" in errors
    assert len([entry for entry in train if entry["video_id"] == "walk/gone"]) == 2
    words = "frames of 4 per second between annotated ones at most 1 s apart"
    assert f"Rows of the producer `interpolate` are {words}." in (tmp_path / "out" / "README.md").read_text()
    assert read_run(tmp_path / "out").policy == f"2 frames; {words}"


def test_one_table_is_filled_in_with_its_own_rows_untouched(run, folder, tmp_path):
    fill = ["--interpolate_fps", 8, "--manifest", folder / "manifest"]
    status, _, errors = run("--tables", folder / "one", "--out", tmp_path / "out", *fill)
    assert status == 0, errors
    train = load_guidance(tmp_path / "out")["train"].to_list()
    own = [entry for entry in train if entry["producer"] == "llm"]
    assert own == load_guidance(folder / "one")["train"].to_list()
    assert [entry["frame_index"] for entry in train if entry["video_id"] == "walk/a"] == list(range(9))


def test_a_video_that_is_gone_keeps_its_rows(run, folder, tmp_path):
    manifest = load_manifest(folder / "manifest")
    (tmp_path / "videos" / "walk").mkdir(parents=True)
    (tmp_path / "videos" / "walk" / "b.mp4").write_bytes(manifest.video_path(manifest.split("train")[1]).read_bytes())
    fill = ["--interpolate_fps", 8, "--manifest", folder / "manifest", "--video_root", tmp_path / "videos"]
    status, _, errors = run("--tables", folder / "one", "--out", tmp_path / "out", *fill)
    assert status == 0, errors
    assert "a.mp4: missing; its rows stay as they are" in errors
    assert len(load_guidance(tmp_path / "out")["train"]) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tables", "one"], "nothing to do"),
        (["--tables", "one", "other", "--weights", "1"], "1 --weights do not fit 2 --tables"),
        (["--tables", "one", "other", "--weights", "1", "-1"], "above zero"),
        (["--tables", "one", "other", "--grid", "4"], "expected rows and columns"),
        (["--tables", "one", "--interpolate_fps", "4"], "wants --manifest"),
        (["--tables", "one", "--interpolate_fps", "0", "--manifest", "manifest"], "frames_per_second is 0"),
        (["--tables", "one", "nowhere"], "nowhere"),
        (["--tables", "one", "other", "--out", "one"], "would be overwritten"),
    ],
)
def test_a_mistake_ends_with_one_line(run, folder, tmp_path, arguments, message):
    names = ("one", "other", "nowhere", "manifest")
    arguments = [folder / argument if argument in names else argument for argument in arguments]
    before = sorted((folder / "one").rglob("*"))
    status, _, errors = run(*([] if "--out" in arguments else ["--out", tmp_path / "out"]), *arguments)
    assert status == 1
    assert errors.strip().splitlines()[-1].startswith("error: ") and message in errors.strip().splitlines()[-1]
    assert "Traceback" not in errors
    assert sorted((folder / "one").rglob("*")) == before


def test_it_starts_from_a_shell(folder, tmp_path):
    command = [sys.executable, str(SCRIPT), "--tables", str(folder / "one"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "error: nothing to do: give two --tables or more, or --interpolate_fps\n"
