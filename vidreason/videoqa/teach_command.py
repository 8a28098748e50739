"""`python -m vidreason.videoqa teach_vision`: a tiny Video-LLM's vision tower learns what lies where in frames."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..command_line import add_settings, read_settings
from ..errors import ConfigError
from ..files import write_whole
from ..manifests.manifest import load_manifest
from ..scenegraph.graph import SceneGraph
from ..scenegraph.table import load_graphs
from .answering.asking import Videos
from .frames import FrameSampling, ShownFrames
from .tiny_vision import VisionLessons, teach_vision

LESSONS_FILE = "vision_lessons.json"
"""What came of the lessons, beside the model."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command `teach_vision`; what it parses has `run`, a function that does the work.

    Args:
        subparsers: What `ArgumentParser.add_subparsers` gave.
    """
    parser = subparsers.add_parser(
        "teach_vision", help="teach a tiny Video-LLM's vision tower by scene graphs", description=__doc__
    )
    parser.add_argument("--model", required=True, help="folder of a model of `make_tiny`")
    parser.add_argument("--graphs", required=True, help="scene graphs of the videos: a folder, or a Hub id")
    parser.add_argument("--manifest", required=True, help="folder of the manifest of the videos")
    parser.add_argument("--split", default="train", help="split of the graphs (default: train)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model that was taught")
    parser.add_argument("--num_frames", type=int, default=8, help="frames that are shown of each video (default: 8)")
    parser.add_argument("--max_side_px", type=int, default=64, help="longer side that frames are scaled down to")
    add_settings(parser, VisionLessons)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> None:
    """Teach the tower, and save the model with what came of it.

    Raises:
        GraphError: There are no such graphs.
        ManifestError: There is no such manifest.
        VideoError: A video cannot be read.
        ConfigError: A setting does not fit, the manifest lacks a video, or the model is none of `make_tiny`.
    """
    lessons = read_settings(args, VisionLessons)
    sampling = FrameSampling(args.num_frames, args.max_side_px)
    graphs, videos = load_graphs(args.graphs)[args.split], Videos(load_manifest(args.manifest))
    if os.path.realpath(args.out) == os.path.realpath(args.model):
        raise ConfigError(f"out is the model's own folder, {args.out}: name another")
    from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

    from ..whole_models import load_whole

    where = f"model {args.model}"
    model = load_whole(Qwen3VLForConditionalGeneration, args.model, where, dtype="float32")
    try:
        processor = AutoProcessor.from_pretrained(args.model)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: its processor cannot be loaded: {error}") from error
    history = teach_vision(model, processor, _clips(graphs, videos, sampling), lessons)
    model.save_pretrained(args.out)
    processor.save_pretrained(args.out)
    facts = {"graphs": args.graphs, "split": args.split, "epochs": history}
    write_whole(args.out / LESSONS_FILE, json.dumps(facts, indent=2) + "\n")
    last = history[-1]
    print(f"after {last['epoch']:g} epochs F1 {last['f1']:.3f} of what lies in each cell; the model is in {args.out}")


def _clips(graphs: Any, videos: Videos, sampling: FrameSampling) -> Iterator[tuple[ShownFrames, SceneGraph]]:
    for graph in graphs:
        yield videos.show({"video_id": graph.video_id, "start_s": None, "end_s": None}, sampling), graph
