"""The builder of GMDCSA24 as it is started from a shell."""

import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.gmdcsa24_trees import gmdcsa24, line, two_people

from vidreason.manifests.layouts.gmdcsa24 import OVERLAP_RULE
from vidreason.manifests.manifest import load_manifest
from vidreason.manifests.segments import SegmentIndex, load_segments

SCRIPT = Path(__file__).parents[2] / "datasets_scripts" / "build_gmdcsa24.py"


def run(*arguments):
    """Start the script; returns its exit status, output and errors."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_a_fold_from_the_shell(tmp_path):
    root = two_people(tmp_path / "copy")
    gmdcsa24(root, {"subject_1/ADL": [line("01.mp4", "Siting[0 to 1]"), line("02.mp4", "Walking[0 to 1]")]})
    status, output, errors = run("--root", root, "--out", tmp_path / "out", "--leave_out", "subject_2")
    assert status == 0, errors
    assert "subject_1/ADL.csv:2 corrected (spelling): Siting[0 to 1] -> Sitting[0 to 1]" in output
    assert output.splitlines()[-1] == "labels: 1 corrected (spelling 1); 1 noted (hidden 1)"
    assert f"written to {tmp_path / 'out'}" in output
    manifest = load_manifest(tmp_path / "out")
    assert set(manifest.split("test")["group"]) == {"subject_2"}
    assert SegmentIndex(load_segments(tmp_path / "out")).label_at("subject_1/ADL/01", 0.5) == "Sitting"


def test_the_help_states_the_rule():
    status, output, _ = run("--help")
    assert status == 0 and OVERLAP_RULE in " ".join(output.split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--root", "nowhere"], "nowhere: no such folder; expected that of GMDCSA24"),
        (
            ["--root", ".", "--leave_out", "a", "--single_split"],
            "give persons to leave out or a single split, not both",
        ),
    ],
)
def test_bad_flags_end_with_a_sentence(tmp_path, flags, message):
    status, output, errors = run(*flags, "--out", tmp_path / "out")
    assert status == 1 and output == "" and not (tmp_path / "out").exists()
    assert errors.splitlines()[-1] == f"error: {message}"
