"""What visitors leave is deleted: parts of uploads, old files, and all of a run that was killed; nothing of others."""

import os
import subprocess
import sys
import time

import pytest
from clipview import scratch as scratch_module
from clipview.scratch import Scratch, delete_leftovers, sweep_regularly


def lay(path, content=b"x" * 100):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def later(monkeypatch):
    """Moves the clock on."""
    passed = [0.0]
    now = time.time
    monkeypatch.setattr(scratch_module.time, "time", lambda: now() + passed[0])
    return lambda seconds: passed.__setitem__(0, passed[0] + seconds)


def test_parts_of_uploads_go_when_nothing_is_added_and_whole_ones_when_they_are_old(tmp_path, later):
    scratch = Scratch(tmp_path)
    parts = [lay(scratch.uploads / f"tmp{number}") for number in range(20)]  # of uploads that were cut off
    whole, example = lay(scratch.uploads / "0a1b" / "clip.mp4"), lay(scratch.uploads / "2c3d" / "example.mp4")
    os.utime(whole, (0, 0))  # a copy has the time of change of its original: it is not that old here
    drawn = lay(scratch.drawn / "attention.mp4")  # the cache knows its age
    sweep = lambda: scratch.sweep_uploads(900, 60, keep={str(example)})  # noqa: E731
    assert sweep() == 0
    later(61)
    arriving = lay(scratch.uploads / "tmp_arriving")
    os.utime(arriving, (time.time(), time.time()))
    later(-60)
    assert sweep() == 0  # none has been quiet for so long
    later(60)
    scratch_files = {path for path in scratch.uploads.iterdir() if path.is_file()}
    assert scratch_files == {*parts, arriving}
    assert sweep() == 21 and whole.exists()
    later(900)
    assert sweep() == 1 and not whole.exists() and example.exists() and drawn.exists()
    later(900)
    sweep()
    assert not whole.parent.exists()  # folders do not pile up either
    scratch.close()
    assert not list(tmp_path.iterdir())


def test_a_killed_run_is_cleared_by_the_next_and_nothing_of_others_is(tmp_path):
    code = """if True:
        import pathlib, sys, time
        sys.path.insert(0, sys.argv[1])
        from clipview.scratch import Scratch
        scratch = Scratch(pathlib.Path(sys.argv[2]))
        (scratch.uploads / "tmpx").write_bytes(bytes(9))
        print(scratch.folder, flush=True)
        time.sleep(600)"""
    space = os.path.dirname(os.path.dirname(scratch_module.__file__))
    command = [sys.executable, "-c", code, space, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        killed = tmp_path / os.path.basename(process.stdout.readline().strip())
        assert (killed / "uploads" / "tmpx").exists()
        foreign = lay(tmp_path / "vidreason_space_run_of_somebody" / "file").parent  # without our lock
        elsewhere = lay(tmp_path / "elsewhere" / "in_use.lock").parent
        link = tmp_path / "vidreason_space_run_link"
        link.symlink_to(elsewhere)
        gradio = lay(tmp_path / "gradio" / "tmpabc")  # another Gradio's
        assert delete_leftovers(tmp_path) == []  # it runs
        process.kill()
        process.wait()
    scratch = Scratch(tmp_path)
    assert not killed.exists() and scratch.folder.exists()
    assert foreign.exists() and elsewhere.exists() and link.is_symlink() and gradio.exists()
    assert delete_leftovers(tmp_path) == []  # nor is one's own deleted
    scratch.close()


def test_a_failed_sweep_is_not_the_last_one(caplog):
    calls = []

    def sweep():
        calls.append(1)
        raise OSError("a disk that is tired")

    sweep_regularly(sweep, 5.0, wait=lambda seconds: len(calls) == 3)
    assert len(calls) == 3 and caplog.text.count("a sweep has failed") == 3


def test_the_folder_for_uploads_is_within_the_one_that_the_operator_names(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "named"))
    scratch = Scratch()
    assert scratch.uploads.is_relative_to(tmp_path / "named")
    scratch.close()
