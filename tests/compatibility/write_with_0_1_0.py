"""How the files beside this one were written: run with the code of version 0.1.0, never with a later one.

    git worktree add ../v0.1.0 86fd45a && PYTHONPATH=../v0.1.0 python tests/compatibility/write_with_0_1_0.py

Everything is as small as it can be: what is tested is that it can be read. The study's records are six of those in
`docs/results/epochs` of that version, as they were.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch

import vidreason
from modeling_tsvit import (
    TSViTConfig,
    TSViTForActionSegmentation,
    TSViTForVideoClassification,
    TSViTVideoProcessor,
)
from vidreason.guidance import write_guidance
from vidreason.guidance.schema import guidance_row
from vidreason.video import probe_video, write_video
from vidreason.video.manifest import manifest_row, write_manifest  # moved since
from vidreason.video.packing import PackRequest, PackSettings, pack_clips
from vidreason.video.segments import write_segments

OUT = Path(__file__).resolve().parent / "written_by_0_1_0"
LABELS = ["lift", "slide"]
SHAPE = {"image_size": 16, "grid_size": 2, "num_frames": 4, "hidden_size": 8, "intermediate_size": 8}
SHAPE |= {"num_attention_heads": 2, "num_spatial_layers": 2, "num_temporal_layers": 1}


def main() -> None:
    assert vidreason.__version__ == "0.1.0"
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    os.chdir(OUT)  # no path of the machine that wrote them goes into the files
    expected = {"classifier": write_classifier(), "segmenter": write_segmenter()}
    Path("models.json").write_text(json.dumps(expected, indent=1) + "\n")
    write_tables()
    copy_study()


def pixels() -> torch.Tensor:
    """(1, 4, 3, 16, 16)."""
    return torch.linspace(-1, 1, 4 * 3 * 16 * 16).reshape(1, 4, 3, 16, 16)


def write_classifier() -> dict:
    torch.manual_seed(0)
    config = TSViTConfig(**SHAPE, supervised_layers=[0, -1], id2label=dict(enumerate(LABELS)), drop_path_rate=0.1)
    model = TSViTForVideoClassification(config).eval()
    model.save_pretrained("classifier")
    TSViTVideoProcessor(size={"height": 16, "width": 16}, num_frames=4).save_pretrained("classifier")
    remove_code("classifier")
    with torch.no_grad():
        outputs = model(pixels())
    return {name: outputs[name].tolist() for name in ("logits", "segment_logits", "frame_attention")}


def write_segmenter() -> dict:
    torch.manual_seed(1)
    config = TSViTConfig(**SHAPE, patch_embedding="conv_stem", id2label=dict(enumerate(["pause", *LABELS])))
    config.frames_per_second, config.score_averaging_s = 4, 1.0
    model = TSViTForActionSegmentation(config).eval()
    model.save_pretrained("segmenter")
    remove_code("segmenter")
    with torch.no_grad():
        return {"logits": model(pixels()).logits.tolist()}


def remove_code(folder: str) -> None:
    """The model is read by today's code, not by its own."""
    for path in Path(folder).glob("*.py"):
        path.unlink()


def write_tables() -> None:
    """Two videos of a moving square, and what is written about them."""
    rows, guidance = {}, {}
    for split, label, step in (("train", "lift", (-3, 0)), ("test", "slide", (0, 3))):
        path = Path("manifest", "videos", label, "a.mp4")
        frames = np.full((6, 32, 32, 3), 90, dtype=np.uint8)
        for index in range(6):
            top, left = 18 + step[0] * index, 4 + step[1] * index
            frames[index, top : top + 8, left : left + 8] = (220, 60, 40)
        write_video(path, list(frames), fps=4.0)
        info = probe_video(path)
        row = manifest_row(f"{label}/a.mp4", label, info, group=f"person_{split}")
        rows[split] = [row]
        key = {"video_id": f"{label}/a", "source": "squares@1", "split": split, "frame_height": 32, "frame_width": 32}
        guidance[split] = guidance_rows(key)
    manifest = write_manifest(
        "manifest", rows, LABELS, "squares@1", "manifest/videos", skipped=[{"path": "lift/b.mp4", "reason": "empty"}]
    )
    segments = {
        split: [
            {"video_id": row["video_id"], "start_frame": 0, "end_frame": 2, "start_s": 0.0, "end_s": 0.5, "label": 0},
            {"video_id": row["video_id"], "start_frame": 2, "end_frame": 6, "start_s": 0.5, "end_s": 1.5, "label": 1},
        ]
        for split, (row,) in manifest.splits.items()
    }
    write_segments("manifest", segments, ["pause", "move"], "squares@1")
    write_guidance("guidance", guidance, title="Squares")
    request = PackRequest("manifest", None, ("train", "test"), {"train": "guidance"}, settings=PackSettings(3))
    pack_clips(request, "packed")


def guidance_rows(key: dict) -> list[dict]:
    """Rows with weights on the whole frame and on a part of it, and rows without."""
    facts = {"model": "a-model", "prompt_id": "ucf-1", "prompt_sha256": "0" * 64, "request_hash": "1" * 64}
    things = [
        {"name": "square", "center": [0.25, 0.6875], "box": [0.125, 0.5625, 0.375, 0.8125], "relevant": True},
        {"name": "wall", "center": [], "box": [], "relevant": False},
    ]
    facts |= {"prompt_tokens": 300, "completion_tokens": 7, "cost_usd": 0.0005}
    first = {**key, "frame_index": 0, "timestamp_s": 0.0}
    ok = guidance_row(first, [0, 0, 3, 1], (2, 2), "llm", objects=things, raw_response="cells 2 and 3", **facts)
    empty = guidance_row({**key, "frame_index": 1, "timestamp_s": 0.25}, [0, 0, 0, 0], (2, 2), "motion")
    failed = guidance_row(
        {**key, "frame_index": 2, "timestamp_s": 0.5}, [0, 0, 0, 0], (2, 2), "llm", "failed", **facts
    )
    part = (0.0, 0.25, 1.0, 0.75)
    cropped = guidance_row(
        {**key, "frame_index": 3, "timestamp_s": 0.75}, [1, 1, 2, 0], (2, 2), "truth", rectangle=part
    )
    return [ok, empty, failed, cropped]


def copy_study() -> None:
    results = Path(vidreason.__file__).resolve().parents[1] / "docs" / "results" / "epochs"
    Path("study", "runs").mkdir(parents=True)
    for name in ("study.yaml", "tsvit.yaml"):
        shutil.copyfile(results / name, Path("study", name))
    for cell in ("plain-unused-20", "evidence_supervision-noisy-20"):
        for seed in range(3):
            name = f"{cell}-seed{seed}.json"
            shutil.copyfile(results / "runs" / name, Path("study", "runs", name))


if __name__ == "__main__":
    main()
