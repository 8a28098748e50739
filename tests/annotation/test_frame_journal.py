"""What a run remembers of its frames."""

import os
import signal
import subprocess
import sys
import textwrap

from vidreason.annotation.frames import FirstUses, FrameJournal, JournalFrame

FRAMES = [
    JournalFrame(3, 0.25, 240, 320, 120, 160, ("a" * 64, "b" * 64)),
    JournalFrame(9, 0.75, 240, 320, error="decode_failed: frames 9 do not decode"),
]


def test_frames_come_back_as_they_were_put(tmp_path):
    with FrameJournal(tmp_path / "work" / "frames.sqlite") as journal:
        assert journal.frames("train", "a", "print") is None
        journal.put("train", "a", "print", FRAMES)
        journal.put("test", "a", "print", [])
    with FrameJournal(tmp_path / "work" / "frames.sqlite") as journal:
        assert journal.frames("train", "a", "print") == FRAMES
        assert journal.frames("test", "a", "print") == []


def test_another_fingerprint_asks_for_the_video_again_and_replaces_it(tmp_path):
    with FrameJournal(tmp_path / "frames.sqlite") as journal:
        journal.put("train", "a", "print", FRAMES)
        assert journal.frames("train", "a", "other") is None
        journal.put("train", "a", "other", FRAMES[1:])
        assert journal.frames("train", "a", "other") == FRAMES[1:]
        assert journal.frames("train", "a", "print") is None


def test_a_kill_leaves_whole_videos_only(tmp_path):
    path = tmp_path / "frames.sqlite"
    program = textwrap.dedent(
        """
        import itertools, sys
        from vidreason.annotation.frames import FrameJournal, JournalFrame
        journal = FrameJournal(sys.argv[1])
        for number in itertools.count():
            journal.put("train", str(number), "print", [JournalFrame(i, i / 10, 4, 4) for i in range(50)])
            print(number, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    last = next(int(line) for line in process.stdout if int(line) >= 20)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with FrameJournal(path) as journal:
        written = [journal.frames("train", str(number), "print") for number in range(last + 200)]
    assert all(frames is not None for frames in written[: last + 1])
    assert {len(frames) for frames in written if frames is not None} == {50}


def test_the_first_use_of_a_request_is_told_from_the_later_ones():
    uses = FirstUses()
    assert [uses.first(name) for name in ("a", "b", "a", "a", "c", "b")] == [True, True, False, False, True, False]
    uses.close()
