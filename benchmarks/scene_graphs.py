"""Writing and reading scene graphs of VidOR's size: seconds and memory over their number.

    python benchmarks/scene_graphs.py --num_graphs 100 1000 10000 --out outputs/benchmarks/scene_graphs.json

Every graph has the objects, boxes and relations that a video of VidOR has. Each number of graphs is written, opened
for the first time (which copies the rows into the cache), read through in order, and read at random, in processes of
their own. Seconds are those of the processor and memory is anonymous memory at its highest, above that before the
work: pages of mapped files, which the system takes back when it needs them, are not in it. Ratios are to the smallest
number: linear work has one of 1 for seconds a graph, and memory that does not grow has one of 1 too.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidreason.command_line import run_command
from vidreason.errors import ConfigError, VidreasonError
from vidreason.files import write_whole
from vidreason.reporting.tables import Column, markdown_table

MIB = 2**20

STEPS = ("write", "first opening", "open", "read in order", "read at random")

# the imports and a first small step come before the measurement, so that libraries do not count as the table's
_PROGRAM = """
import dataclasses, json, random, sys, threading, time
step, folder, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from vidreason import files
from vidreason.scenegraph import Edge, Node, SceneGraph, TrackPoint, load_graphs, write_graphs
files.read_folder.__defaults__ = (0,)  # tables of any size are mapped, so that all numbers of graphs are read alike

def anonymous():
    fields = dict(line.split(":") for line in open("/proc/self/smaps_rollup") if line.count(":") == 1)
    return int(fields["Anonymous"].split()[0]) * 1024

def graph_of_vidor():
    frames, fps = settings["num_frames"], 30.0
    nodes = [
        Node(f"object {n}", "object", "person", track=tuple(
            TrackPoint(frame, frame / fps, (0.1 + 0.5 * frame / frames, 0.2, 0.3 + 0.5 * frame / frames, 0.6))
            for frame in range(frames))) for n in range(settings["num_objects"])]
    length_s = frames / fps
    edges = [
        Edge("relation", f"object {n % len(nodes)}", "watches", f"object {(n + 1) % len(nodes)}",
             0.1 * length_s, (0.2 + n % 9 / 12) * length_s)
        for n in range(settings["num_relations"])]
    known = {"producer": "annotation", "status": "ok"}
    return SceneGraph("g", "v", "benchmark@1", "train", frames, fps, 240, 320, tuple(nodes), tuple(edges), known)

peak = start = 0
def watch(graphs, every=5):
    global peak
    for number, graph in enumerate(graphs):
        if number % every == 0:
            peak = max(peak, anonymous())
        yield graph

graph = graph_of_vidor()
count = settings["count"]
write_graphs(folder + "_warm_" + step.replace(" ", "_"), {"train": [graph]})
list(load_graphs(folder + "_warm_" + step.replace(" ", "_"))["train"])
if step == "read at random":
    table = load_graphs(folder)["train"]
    table.graph_ids
start, began = anonymous(), time.process_time()
done = count
if step == "write":
    made = (dataclasses.replace(graph, graph_id=f"g{n}", video_id=f"v{n}") for n in range(count))
    write_graphs(folder, {"train": watch(made)})
elif step in ("first opening", "open"):
    finished = threading.Event()
    def sample():  # nothing is given from hand to hand here, where memory could be looked at
        global peak
        while not finished.wait(0.05):
            peak = max(peak, anonymous())
    sampler = threading.Thread(target=sample)
    sampler.start()
    assert len(load_graphs(folder)["train"]) == count
    finished.set()
    sampler.join()
elif step == "read in order":
    assert sum(len(read.edges) for read in watch(load_graphs(folder)["train"])) == count * len(graph.edges)
else:
    names = random.Random(0).choices(range(count), k=settings["num_random"])
    for read in watch(table.get(f"g{n}") for n in names):
        assert len(read.nodes) == len(graph.nodes)
    done = len(names)
seconds, peak = time.process_time() - began, max(peak, anonymous())
print(json.dumps({"seconds": seconds, "bytes": peak - start, "graphs": done}))
"""


@dataclass
class GraphBenchmarkArguments:
    """Sizes of the graphs, by default about those of VidOR: a video of half a minute, five objects, 38 relations."""

    num_graphs: list[int] = field(
        default_factory=lambda: [100, 1000, 10_000], metadata={"help": "Numbers of graphs, rising."}
    )
    num_frames: int = field(default=900, metadata={"help": "Frames of a video; each object has a box in all of them."})
    num_objects: int = field(default=5, metadata={"help": "Objects of a graph."})
    num_relations: int = field(default=38, metadata={"help": "Relations of a graph."})
    num_random: int = field(default=100, metadata={"help": "Graphs that are read at random."})
    out: str = field(default="outputs/benchmarks/scene_graphs.json", metadata={"help": "JSON file of the results."})

    def __post_init__(self):
        if not self.num_graphs or min(self.num_graphs) < 1 or sorted(set(self.num_graphs)) != self.num_graphs:
            raise ConfigError(f"--num_graphs is {self.num_graphs}, expected rising numbers of at least 1")
        if min(self.num_frames, self.num_objects, self.num_relations, self.num_random) < 1:
            raise ConfigError("--num_frames, --num_objects, --num_relations and --num_random must be at least 1")


def measure(count: int, args: GraphBenchmarkArguments, scratch: Path) -> dict[str, Any]:
    """Seconds, memory and graphs of each step, and the size of the tables on the disk."""
    folder = scratch / "graphs"
    settings = json.dumps({**asdict(args), "count": count})
    environment = {**os.environ, "HF_DATASETS_CACHE": str(scratch / "cache"), "OMP_NUM_THREADS": "1"}
    steps = {}
    for step in STEPS:
        command = [sys.executable, "-c", _PROGRAM, step, str(folder), settings]
        finished = subprocess.run(command, capture_output=True, text=True, env=environment)
        if finished.returncode:
            raise VidreasonError(f"step {step!r} with {count} graphs: {finished.stderr.strip()[-2000:]}")
        steps[step] = json.loads(finished.stdout.splitlines()[-1])
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    return {"num_graphs": count, "disk_bytes": size, "steps": steps}


def run(args: GraphBenchmarkArguments) -> None:
    """Measure, print a table and write the report."""
    results = []
    for count in args.num_graphs:
        with tempfile.TemporaryDirectory() as scratch:
            results.append(measure(count, args, Path(scratch)))
    rows = table_rows(results)
    report = {
        "settings": {name: value for name, value in asdict(args).items() if name != "out"},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_1min": os.getloadavg()[0]},
        "results": results,
        "rows": rows,
    }
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, json.dumps(report, indent=1) + "\n")
    columns = [
        *("step", "graphs", Column("ms_per_graph", "CPU ms a graph", 2), Column("time_ratio", "to the fewest", 2)),
        *(Column("peak_mib", "peak MiB", 0), Column("memory_ratio", "to the fewest", 2)),
    ]
    print(markdown_table(rows, columns))
    print(", ".join(f"{one['num_graphs']:,} graphs take {one['disk_bytes'] / MIB:,.0f} MiB" for one in results))


def table_rows(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table: each step at each number of graphs, beside the same step at the smallest."""
    rows = []
    for step in STEPS:
        first = results[0]["steps"][step]
        for entry in results:
            found = entry["steps"][step]
            per_graph, smallest = (one["seconds"] / one["graphs"] for one in (found, first))
            rows.append(
                {
                    "step": step,
                    "graphs": entry["num_graphs"],
                    "ms_per_graph": 1000 * per_graph,
                    "time_ratio": per_graph / smallest if smallest else None,
                    "peak_mib": found["bytes"] / MIB,
                    # some steps take next to nothing, and a ratio of that says nothing
                    "memory_ratio": found["bytes"] / first["bytes"] if first["bytes"] > MIB else None,
                }
            )
    return rows


def main() -> int:
    """Run the command line."""
    return run_command(run, GraphBenchmarkArguments)


if __name__ == "__main__":
    sys.exit(main())
