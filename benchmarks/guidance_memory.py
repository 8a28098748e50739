"""What a guidance table takes of the memory of a process that opens it, and of a loader worker that joins by it.

    python benchmarks/guidance_memory.py --num_rows 240000 960000

Tables are made of random maps, with answers of a length as language models give them. Each is opened in processes of
their own: by reading the whole Parquet file, as the simplest loader does, and by `load_guidance`, which maps it; then
an index is made, and is sent to a worker that was spawned and so shares nothing. What grows with the rows is fitted
by a line, which gives the memory at the number of frames that Something-Something v2 has in the paper (3.5 million).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.command_line import run_command
from vidreason.files import write_whole
from vidreason.guidance import guidance_row, write_guidance

SCALED_ROWS = 3_500_000
MIB = 2**20

_MAPPED = "from vidreason.guidance import GuidanceIndex, load_guidance\ntable = load_guidance(folder)['train']\n"

_OPENING = {
    "whole file": "table = pyarrow.parquet.read_table(path)",
    "first opening": _MAPPED,  # which copies the rows into the cache
    "mapped table": _MAPPED,
    "table and index": _MAPPED + "import pickle; pickle.dump(index := GuidanceIndex(table), open(pickled, 'wb'))",
    "spawned worker": "import pickle; index = pickle.load(open(pickled, 'rb'))",
}
"""What is measured -> what the process does."""

# the imports and a first small step come before the measurement, so that libraries do not count as the table's
_PROGRAM = """
import os, sys
folder, path, pickled = sys.argv[1:]
import pyarrow.parquet, vidreason.guidance
pyarrow.parquet.read_metadata(path)
def private():
    # without pages of mapped files, which the system takes back when it needs them
    fields = dict(line.split(":") for line in open("/proc/self/smaps_rollup") if line.count(":") == 1)
    return int(fields["Anonymous"].split()[0]) * 1024
before = private()
{opening}
print(private() - before)
"""


@dataclass
class MemoryArguments:
    """Sizes of the tables."""

    num_rows: list[int] = field(
        default_factory=lambda: [240_000, 960_000], metadata={"help": "Numbers of rows of the tables."}
    )
    rows_per_video: int = field(default=10, metadata={"help": "Annotated frames of each video."})
    answer_chars: int = field(default=700, metadata={"help": "Length of each raw answer in characters."})
    out: str = field(default="outputs/benchmarks/guidance_memory.json", metadata={"help": "JSON file of the results."})


def table_rows(num_rows: int, args: MemoryArguments) -> Iterator[dict[str, Any]]:
    """Rows as a language model's run writes them, with maps and answers at random."""
    rng = np.random.default_rng(0)
    for number in range(num_rows):
        video, frame = divmod(number, args.rows_per_video)
        key = {
            **{"video_id": f"videos/{video:08d}", "source": "benchmark@1", "split": "train", "frame_index": frame},
            **{"timestamp_s": frame / 5, "frame_height": 240, "frame_width": 320},
        }
        answer = rng.bytes(args.answer_chars // 2).hex()
        yield guidance_row(key, rng.random(16).tolist(), (4, 4), producer="llm", raw_response=answer)


def measure(folder: Path, path: Path, pickled: Path) -> dict[str, int]:
    """Bytes of anonymous memory that each way of opening a table adds to a process."""
    found = {}
    for name, opening in _OPENING.items():
        command = [sys.executable, "-c", _PROGRAM.format(opening=opening), str(folder), str(path), str(pickled)]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = int(finished.stdout.split()[-1])
    return found


def run(args: MemoryArguments) -> None:
    """Measure, print a table and write the report."""
    results = []
    for num_rows in args.num_rows:
        with tempfile.TemporaryDirectory() as scratch:
            folder = write_guidance(Path(scratch) / "table", {"train": table_rows(num_rows, args)})
            path = next((folder / "data").iterdir())
            used = measure(folder, path, Path(scratch) / "index.pickle")
            results.append({"num_rows": num_rows, "bytes": used})
    report = {"settings": {**asdict(args), "out": None}, "results": results, "scaled": scale(results)}
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, json.dumps(report, indent=1) + "\n")
    print(f"{'rows':>10}" + "".join(f"{name:>18}" for name in _OPENING) + f"{'worker : whole':>18}")
    for entry in [*results, report["scaled"]]:
        used = entry["bytes"]
        cells = "".join(f"{used[name] / MIB:>14,.0f} MiB" for name in _OPENING)
        print(f"{entry['num_rows']:>10,}{cells}{used['spawned worker'] / used['whole file']:>18.2f}")


def scale(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The memory of `SCALED_ROWS` rows, by a line through the measurements."""
    rows = [entry["num_rows"] for entry in results]
    scaled = {}
    for name in _OPENING:
        line = np.polyfit(rows, [entry["bytes"][name] for entry in results], min(1, len(rows) - 1))
        scaled[name] = float(np.polyval(line, SCALED_ROWS))
    return {"num_rows": SCALED_ROWS, "bytes": scaled}


def main() -> int:
    """Run the command line."""
    return run_command(run, MemoryArguments)


if __name__ == "__main__":
    sys.exit(main())
