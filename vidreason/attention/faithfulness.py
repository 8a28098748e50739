"""Is the map honest? Deletion and insertion curves of trained models.

    python -m vidreason.attention.faithfulness --models plain=release/plain rs=release/rs \
        --manifest outputs/demo/data/world --guidance outputs/demo/data/guidance_true \
        --splits test test_shifted --decode_max_side_px 96 --out docs/results/faithfulness

Writes `faithfulness.json`, and from it `README.md` and a figure for each split; `--report_only` rebuilds those two.
What is measured, and by whose rules, stands in `vidreason.attention.curves`.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, PreTrainedModel

import modeling_tsvit  # noqa: F401  the Auto classes know TSViT from here

from ..backbones import supervised_view
from ..backbones.layers import read_layers
from ..clips.data import ClipSettings, GuidedClipCollator, GuidedClips
from ..clips.transforms import evaluation_transform, input_size
from ..command_line import run_command
from ..errors import ConfigError
from ..files import write_whole
from ..guidance import GuidanceIndex, load_guidance
from ..manifests.manifest import load_manifest
from ..reporting.bootstrap import Bootstrap
from ..reporting.device import describe_device
from .curves import GUIDANCE, RANKINGS, AttendingModel, FaithfulnessCurves, FaithfulnessSettings, measure_faithfulness
from .faithfulness_report import FILE_NAME, KIND, compare_models, read_report, summarize_curves, write_pages


@dataclass
class FaithfulnessArguments:
    """What is measured and where it is written."""

    out: str = field(metadata={"help": "Folder of the JSON, the page and the figures."})
    models: list[str] = field(
        default_factory=list, metadata={"help": "name=folder of each model, what others are compared with first."}
    )
    manifest: str | None = field(default=None, metadata={"help": "Folder of the manifest of videos."})
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not as it says."})
    allow_outside_paths: bool = field(
        default=False,
        metadata={"help": "Take a manifest whose paths may leave the videos' folder, to any file of this machine."},
    )
    splits: list[str] = field(default_factory=lambda: ["test"], metadata={"help": "Splits of the manifest."})
    guidance: str | None = field(default=None, metadata={"help": "Guidance table: tokens are ranked by it as well."})
    guidance_tolerance_s: float = field(
        default=0.05, metadata={"help": "Seconds that guidance may lie from a sampled frame and still speak for it."}
    )
    decode_max_side_px: int | None = field(
        default=None, metadata={"help": "Longer side that frames are scaled down to while they are decoded."}
    )
    supervised_layers: str | None = field(
        default=None,
        metadata={"help": "Layers whose attention is read, the last of them ranks: 'all', or indices such as '-1'."},
    )
    max_clips: int | None = field(default=None, metadata={"help": "Only so many of a split, drawn by the seed."})
    batch_size: int = field(default=32, metadata={"help": "Clips that go through a model at once."})
    num_steps: int = field(default=16, metadata={"help": "Most steps from no token to all."})
    num_draws: int = field(default=3, metadata={"help": "Random orders that each clip is tried with."})
    baseline: str = field(
        default="mean",
        metadata={
            "help": "What takes the place of deleted pixels: the frame's mean colour, or the frame blurred.",
            "choices": ["mean", "blur"],
        },
    )
    seed: int = field(default=0, metadata={"help": "Seed of the random orders and of the intervals' resamples."})
    # 1000: the tail of 2.5 % on each side of a 95 % interval then has 25 resamples
    resamples: int = field(
        default=1000, metadata={"help": "Number of resamples of the videos that the intervals come from."}
    )
    device: str | None = field(default=None, metadata={"help": "Default: a GPU where there is one."})
    report_only: bool = field(default=False, metadata={"help": "Rebuild page and figures from the JSON."})


def main() -> int:
    """Run; a mistake ends with one line that names it."""
    return run_command(run, FaithfulnessArguments)


def run(args: FaithfulnessArguments) -> None:
    """Measure, unless only the pages are wanted, and write the pages.

    Raises:
        ConfigError: An argument is missing or makes no sense, or `out` holds something else under the same name.
    """
    out = Path(args.out)
    if (out / FILE_NAME).exists() or args.report_only:
        report = read_report(out)  # something else under this name is not overwritten
    if not args.report_only:
        report = measure(args)
        out.mkdir(parents=True, exist_ok=True)
        # NaN is not JSON: parsers other than Python's refuse it
        write_whole(out / FILE_NAME, json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(write_pages(out, report))


def measure(args: FaithfulnessArguments) -> dict[str, Any]:
    """The report on every split and model."""
    # a name given twice would silently replace the first, which the comparison of lengths below finds
    folders = dict(model.split("=", 1) for model in args.models if "=" in model)
    if len(folders) != len(args.models) or not folders:
        raise ConfigError(f"models are {args.models}, expected name=folder for each, with different names")
    _manifest_folder(args)  # said before a model is loaded
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # each split once, in the order that was given
    splits = {split: measure_split(args, split, folders, device) for split in dict.fromkeys(args.splits)}
    settings = {name: value for name, value in asdict(args).items() if name not in _PLACES}
    return {"kind": KIND, "device": describe_device(device), "settings": settings, "splits": splits}


_PLACES = ("out", "models", "manifest", "video_root", "allow_outside_paths", "guidance", "report_only", "device")
"""Arguments that say where things lie on one machine, which is no part of a result."""


def measure_split(
    args: FaithfulnessArguments, split: str, folders: dict[str, str], device: torch.device
) -> dict[str, Any]:
    """One split: {"models": {name: record}, "against_first": {name: gains less those of the first model}}."""
    # one seed for all models: the same videos are drawn for each, which pairs their differences
    bootstrap = Bootstrap(args.resamples, seed=args.seed)
    records: dict[str, Any] = {}
    against_first: dict[str, Any] = {}
    first: FaithfulnessCurves | None = None
    for name, folder in folders.items():
        curves, videos, facts = measure_model(args, split, folder, device)
        # resampled by video: clips of one video are alike, and taken as independent they make intervals too narrow
        records[name] = facts | summarize_curves(curves.fractions, curves.values, videos, bootstrap)
        if first is None:
            first = curves
        # a difference on other clips, or at other shares, would compare what cannot be compared
        elif first.clip_numbers == curves.clip_numbers and len(first.fractions) == len(curves.fractions):
            against_first[name] = compare_models(curves.fractions, first.values, curves.values, videos, bootstrap)
    return {"models": records, "against_first": against_first}


def measure_model(
    args: FaithfulnessArguments, split: str, folder: str, device: torch.device
) -> tuple[FaithfulnessCurves, list[str], dict[str, Any]]:
    """Curves of one model on one split, the videos of their clips, and what is to be said of both."""
    rankings = tuple(ranking for ranking in RANKINGS if args.guidance or ranking != GUIDANCE)
    settings = FaithfulnessSettings(rankings, args.num_steps, args.num_draws, args.baseline, args.seed)
    model, clips = open_model(args, split, folder)
    chosen = draw_clips(len(clips), args.max_clips, args.seed)
    # not shuffled: clips are numbered across batches, and their random orders follow from the number
    batches = DataLoader(Subset(clips, chosen), args.batch_size, collate_fn=GuidedClipCollator())
    # disable=None: a bar on a terminal and nothing in a log
    progress = tqdm(batches, desc=f"{split} {Path(folder).name}", unit="batch", disable=None)
    torch.nn.Module.to(model, device)  # transformers hides the types of its own `to`
    curves = measure_faithfulness(cast(AttendingModel, model), progress, settings, device)
    ids = [clips.rows[index]["video_id"] for index in chosen]
    facts = {
        "model_type": model.config.model_type,
        "num_clips": len(curves.clip_numbers),
        "skipped": [ids[number] for number in curves.skipped],
    }
    # `curves` numbers the clips that were drawn, not those of the split
    return curves, [ids[number] for number in curves.clip_numbers], facts


def open_model(args: FaithfulnessArguments, split: str, folder: str) -> tuple[PreTrainedModel, GuidedClips]:
    """A model from its folder, and the clips of a split as it takes them."""
    try:
        plain = AutoModelForVideoClassification.from_pretrained(folder)
        processor = AutoVideoProcessor.from_pretrained(folder)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{folder} cannot be loaded as a video classifier with its processor: {error}") from error
    # a view, since `output_attentions` of transformers gives nothing under SDPA
    view = supervised_view(plain, read_layers(args.supervised_layers))
    # torch types attributes of a module as tensors or modules, so that its methods do not show
    model = cast(AttendingModel, view)
    manifest = load_manifest(_manifest_folder(args), args.video_root, args.allow_outside_paths)
    index = None
    if args.guidance:
        table = load_guidance(args.guidance)
        if split not in table:
            raise ConfigError(f"guidance {args.guidance} has no split {split!r}; it has {sorted(table)}")
        index = GuidanceIndex(table[split], args.guidance_tolerance_s)
    transform = evaluation_transform(processor, model.token_grid(*input_size(processor)))
    # uniform: with jitter, models would be compared on different frames
    settings = ClipSettings(view.config.num_frames, "uniform", args.decode_max_side_px)
    return view, GuidedClips(manifest, split, transform, settings, index)


def _manifest_folder(args: FaithfulnessArguments) -> str:
    if not args.manifest:
        raise ConfigError("manifest is not set: name the folder of a manifest of videos")
    return args.manifest


def draw_clips(total: int, wanted: int | None, seed: int) -> list[int]:
    """`wanted` of the numbers below `total`, ascending; all of them where there are no more.

    They are drawn, since every n-th clip of a split whose labels take turns would be of a few labels alone.

    Args:
        total: Number of clips.
        wanted: Number of clips that are drawn; None takes all.
        seed: Seed of the draw.

    Raises:
        ConfigError: Fewer than one is wanted.
    """
    if wanted is None or wanted >= total:
        return list(range(total))
    if wanted < 1:
        raise ConfigError(f"max_clips is {wanted}, expected at least 1")
    # a generator of its own: the same clips for every model that is compared
    return sorted(np.random.default_rng(seed).choice(total, wanted, replace=False).tolist())


if __name__ == "__main__":
    logging.getLogger("transformers").setLevel(logging.ERROR)
    sys.exit(main())
