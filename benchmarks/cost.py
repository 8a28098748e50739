"""What training on Something-Something v2 costs in disk, processor time, GPU hours and dollars.

    python benchmarks/cost.py --rates docs/results/speed/video_rates.json --out docs/results/ssv2_cost
    python benchmarks/cost.py --rates docs/results/speed/video_rates.json --epochs 30 --models tsvit \
        --measured_clips_per_gpu_s tsvit=5000 --out outputs/cost
    python benchmarks/cost.py --page_only true --out docs/results/ssv2_cost

Facts of the data set, rates that were measured, and assumptions stay apart in what is written. A model whose training
rate was not measured has its GPU hours from its arithmetic and an assumed share of the chip's peak, and says so. With
`--page_only` the page is written again from the `cost.json` of an earlier estimate.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flops import MODELS, ModelFlops, count_flops

from vidreason.command_line import run_command
from vidreason.errors import ConfigError
from vidreason.llm.chat import Usage
from vidreason.llm.cost import cost_usd, price_of, prices_copied_on
from vidreason.reporting.tables import NOT_RUN, Column, markdown_table

SECONDS_PER_HOUR = 3600.0
GB = 1e9


@dataclass(frozen=True)
class VideoDataSet:
    """Facts of a data set of short videos.

    Args:
        name: Name of the data set.
        train: Number of videos to train on.
        validation: Number of labelled videos to evaluate on.
        test: Number of videos without public labels.
        bytes: Size of the download.
        mean_seconds: Mean length of a video.
        source: Where these facts are from.
    """

    name: str
    train: int
    validation: int
    test: int
    bytes: int
    mean_seconds: float
    source: str

    @property
    def videos(self) -> int:
        """Number of all videos."""
        return self.train + self.validation + self.test


SOMETHING_SOMETHING_V2 = VideoDataSet(
    name="Something-Something v2",
    train=168_913,
    validation=24_777,
    test=27_157,
    bytes=19_400_000_000,
    mean_seconds=4.03,
    source=(
        "numbers of videos, 19.4 GB, WebM (VP9) 240 pixels high: the data set's page, "
        "https://www.qualcomm.com/developer/software/something-something-v-2-dataset; mean length: of its first "
        "version, Goyal et al. 2017, https://arxiv.org/abs/1706.04261"
    ),
)


@dataclass
class CostArguments:
    """What is reckoned with. All but the rates are assumptions or choices, and are shown as such."""

    rates: str | None = field(
        default=None, metadata={"help": "Report of benchmarks/video_rates.py: decoding and JPEG."}
    )
    out: str = field(default="outputs/cost", metadata={"help": "Folder of cost.json and README.md."})
    epochs: int = field(default=1, metadata={"help": "Passes over the training videos."})
    models: list[str] = field(default_factory=lambda: list(MODELS), metadata={"help": f"Of {', '.join(MODELS)}."})
    measured_clips_per_gpu_s: list[str] = field(
        default_factory=list, metadata={"help": "name=clips a second in training on one GPU, where it was measured."}
    )
    gpu: str = field(default="H100 SXM", metadata={"help": "Its name, for the page."})
    peak_tflops: float = field(default=989.0, metadata={"help": "Of the GPU: dense bf16 (NVIDIA's data sheet)."})
    utilisation: list[float] = field(
        default_factory=lambda: [0.3, 0.4], metadata={"help": "Share of the peak that training reaches: low and high."}
    )
    cores_per_gpu: int = field(default=16, metadata={"help": "Processor cores that bring clips to one GPU."})
    packed_clips_per_core_s: float | None = field(
        default=None,
        metadata={"help": "From the packed store, measured to the batch. Default: its JPEG alone."},
    )
    video_clips_per_core_s: float | None = field(
        default=None, metadata={"help": "From video files, measured to the batch. Default: decoding them alone."}
    )
    usd_per_gpu_hour: float = field(default=3.0, metadata={"help": "Rent of one GPU."})
    gpu_price_date: str = field(default="2026-05", metadata={"help": "When that was so."})
    usd_per_core_hour: float = field(default=0.04, metadata={"help": "Rent of one processor core."})
    guided_share: float = field(default=0.1, metadata={"help": "Of the training videos that are given guidance."})
    guided_frames: int = field(default=10, metadata={"help": "Of each such video."})
    prompt_tokens: int = field(default=360, metadata={"help": "Per frame (the paper's figure, appendix B)."})
    completion_tokens: int = field(default=30, metadata={"help": "Per frame: five cells as JSON."})
    llm: str = field(default="gpt-4.1-mini", metadata={"help": "Model that is asked, as in the paper."})
    page_only: bool = field(default=False, metadata={"help": "Write the page again from the cost.json in `out`."})

    def __post_init__(self):
        positive = ("epochs", "peak_tflops", "cores_per_gpu", "usd_per_gpu_hour", "usd_per_core_hour")
        optional = ("packed_clips_per_core_s", "video_clips_per_core_s")
        for name in (*positive, *(name for name in optional if getattr(self, name) is not None)):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} is {getattr(self, name)}, expected a finite number above 0")
        if not self.utilisation or not all(0 < share <= 1 for share in self.utilisation):
            raise ConfigError(f"utilisation is {self.utilisation}, expected shares in (0, 1]")
        if not 0 <= self.guided_share <= 1:
            raise ConfigError(f"guided_share is {self.guided_share}, expected a share in [0, 1]")


PAGE_SETTINGS = ("rates", "out", "page_only")
"""Arguments that say where things lie and what is written: no part of an estimate."""


def main() -> int:
    """Run; a mistake ends with one line that names it."""
    return run_command(run, CostArguments)


def run(args: CostArguments) -> None:
    """Reckon, or write the page of an earlier estimate again.

    Raises:
        ConfigError: Rates are missing, or what should be read is not usable.
    """
    if args.page_only:
        print(rebuild_page(Path(args.out)))
    else:
        write_estimate(args)


def write_estimate(args: CostArguments) -> None:
    """Reckon, and write cost.json and README.md.

    Raises:
        ConfigError: Rates are missing or not usable.
    """
    if args.rates is None:
        raise ConfigError("rates is not set: name a report of benchmarks/video_rates.py")
    report, rates = read_rates(args.rates)
    flops = [count_flops(name) for name in args.models]
    estimate = {
        "data_set": asdict(SOMETHING_SOMETHING_V2) | {"videos": SOMETHING_SOMETHING_V2.videos},
        "measured": {"machine": report["machine"], "settings": report["settings"], **rates},
        "assumed": {name: value for name, value in asdict(args).items() if name not in PAGE_SETTINGS},
        "llm_prices_of": prices_copied_on(),
        "data": data_costs(args, rates, report["settings"]["frames_per_clip"]),
        "models": [model_costs(args, rates, model) for model in flops],
        "guidance": guidance_costs(args),
    }
    text = describe(estimate)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cost.json").write_text(json.dumps(estimate, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


def rebuild_page(folder: Path) -> str:
    """Write README.md from the cost.json beside it, and return the page.

    Raises:
        ConfigError: Cost.json is not there, or is no estimate.
    """
    path = folder / "cost.json"
    try:
        text = describe(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no estimate of costs: {error!r}") from None
    (folder / "README.md").write_text(text, encoding="utf-8")
    return text


def read_rates(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A report of `benchmarks/video_rates.py`, and in it the rates of files like the data set's.

    Raises:
        ConfigError: It is not there, is none, or a rate in it is no positive number.
    """
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        (rates,) = (entry for entry in report["measured"] if entry["videos"] == f"like {SOMETHING_SOMETHING_V2.name}")
        needed = ("decoded_clips", "jpeg_written_frames", "jpeg_read_frames")
        values = [rates["jpeg_bytes_per_frame"], *(rates[f"{name}_per_core_s"] for name in needed)]
        found = all(math.isfinite(value) and value > 0 for value in values)
        found = found and report["settings"]["frames_per_clip"] > 0 and "machine" in report
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no report of benchmarks/video_rates.py: {error!r}") from error
    if not found:
        raise ConfigError(f"{path} holds rates that are not above 0: {values}")
    return report, rates


def data_costs(args: CostArguments, rates: Mapping[str, Any], frames_per_clip: int) -> dict[str, float]:
    """Disk and processor time of the videos themselves.

    Args:
        args: Number of epochs, and the price of a core.
        rates: Rates as `read_rates` gives them.
        frames_per_clip: Number of frames that are sampled and kept of every video, with which the rates were
            measured.
    """
    labelled = SOMETHING_SOMETHING_V2.train + SOMETHING_SOMETHING_V2.validation
    core_s_per_clip = 1 / rates["decoded_clips_per_core_s"]
    written_s = frames_per_clip / rates["jpeg_written_frames_per_core_s"]
    read_s = frames_per_clip / rates["jpeg_read_frames_per_core_s"]
    passes = SOMETHING_SOMETHING_V2.train * args.epochs
    costs = {
        "videos_gb": SOMETHING_SOMETHING_V2.bytes / GB,
        "packed_gb": labelled * frames_per_clip * rates["jpeg_bytes_per_frame"] / GB,
        "packing_core_hours": labelled * (core_s_per_clip + written_s) / SECONDS_PER_HOUR,
        "training_from_videos_core_hours": passes * core_s_per_clip / SECONDS_PER_HOUR,
        "training_from_packed_core_hours": passes * read_s / SECONDS_PER_HOUR,
    }
    hours = {name: value for name, value in costs.items() if name.endswith("_core_hours")}
    dollars = {name.replace("_core_hours", "_usd"): value * args.usd_per_core_hour for name, value in hours.items()}
    return {**costs, **dollars}


def model_costs(args: CostArguments, rates: Mapping[str, Any], model: ModelFlops) -> dict[str, Any]:
    """GPU hours and dollars of training a model, from its measured rate or from its arithmetic.

    A GPU is held to what its cores can bring, from the packed store and from video files.

    Args:
        args: What is assumed.
        rates: Rates as `read_rates` gives them.
        model: The model's arithmetic.

    Returns:
        For each figure a list: one value where the rate was measured, else one for each assumed utilisation.
    """
    measured = _measured(args.measured_clips_per_gpu_s).get(model.model)
    if measured is not None:
        gpu_rates = [measured]
    else:
        gpu_rates = [args.peak_tflops * 1e12 * share / model.training for share in args.utilisation]
    costs = {**asdict(model), "basis": "assumed" if measured is None else "measured", "clips_per_gpu_s": gpu_rates}
    core_rates = {
        "packed": args.packed_clips_per_core_s or rates["jpeg_read_frames_per_core_s"] / model.num_frames,
        "videos": args.video_clips_per_core_s or rates["decoded_clips_per_core_s"],
    }
    for source, core_rate in core_rates.items():
        reached = [min(gpu_rate, core_rate * args.cores_per_gpu) for gpu_rate in gpu_rates]
        hours = [SOMETHING_SOMETHING_V2.train * args.epochs / rate / SECONDS_PER_HOUR for rate in reached]
        costs[f"{source}_waits"] = reached[0] < gpu_rates[0]
        costs[f"{source}_gpu_hours"] = hours
        costs[f"{source}_usd"] = [value * args.usd_per_gpu_hour for value in hours]
    return costs


def _measured(entries: Sequence[str]) -> dict[str, float]:
    found = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if name not in MODELS or not (math.isfinite(found[name]) and found[name] > 0):
            raise ConfigError(
                f"measured_clips_per_gpu_s has {entry!r}, expected name=clips a second of {', '.join(MODELS)}"
            )
    return found


def guidance_costs(args: CostArguments) -> dict[str, float]:
    """Dollars of asking a language model for guidance, for the share of the videos and for all."""
    costs: dict[str, float] = {}
    price = price_of(args.llm)
    for name, share in (("share", args.guided_share), ("all", 1.0)):
        frames = round(SOMETHING_SOMETHING_V2.train * share) * args.guided_frames
        usage = Usage(prompt_tokens=frames * args.prompt_tokens, completion_tokens=frames * args.completion_tokens)
        costs[f"{name}_frames"] = frames
        costs[f"{name}_usd"] = cost_usd(price, usage)
        costs[f"{name}_batch_usd"] = cost_usd(price, usage, batch=True)
    return costs


def describe(estimate: Mapping[str, Any]) -> str:
    """The estimate for people: facts, measurements and assumptions first, then what follows from them."""
    facts, measured, assumed = estimate["data_set"], estimate["measured"], estimate["assumed"]
    epochs = "one pass" if assumed["epochs"] == 1 else f"{assumed['epochs']} passes"
    return "\n".join(
        [
            f"# What training on {facts['name']} costs\n",
            f"For {epochs} over its training videos. `python benchmarks/cost.py` wrote this page.\n",
            "## What it rests on\n",
            markdown_table(_premises(facts, measured, assumed, estimate["llm_prices_of"]), _columns("what", "value")),
            f"Facts: {facts['source']}.\n",
            "## Disk and processor time\n",
            markdown_table(_data_rows(estimate["data"]), _columns("what", "value", "usd")),
            f"## One {assumed['gpu']}\n",
            markdown_table(_model_rows(estimate["models"]), list(_MODEL_COLUMNS)),
            "An asterisk: the GPU waits for its cores, and would for any faster one. What cores do beside decoding "
            "(cropping, colours, batches) is in these rates only where they were measured to the batch.\n",
            "## Guidance from a language model\n",
            markdown_table(
                _guidance_rows(estimate["guidance"], assumed), _columns("videos", "frames", "usd", "batch")
            ),
        ]
    )


def _columns(*keys: str) -> list[Column]:
    headers = {"usd": "USD", "batch": "USD as a batch job"}
    return [Column(key, headers.get(key, key)) for key in keys]


def _premises(
    facts: Mapping[str, Any], measured: Mapping[str, Any], assumed: Mapping[str, Any], llm_prices_of: str
) -> list[dict[str, str]]:
    machine, settings = measured["machine"], measured["settings"]
    kept = f"{settings['frames_per_clip']} frames, shorter side {settings['short_side_px']} px"
    lines = [
        (
            "fact",
            "videos: training, validation, test",
            f"{facts['train']:,}, {facts['validation']:,}, {facts['test']:,}",
        ),
        ("measured", "processor", machine["processor"]),
        ("measured", f"clips decoded a core-second ({kept})", f"{measured['decoded_clips_per_core_s']:.1f}"),
        ("measured", "clips to the batch a core-second, packed store", _optional(assumed["packed_clips_per_core_s"])),
        ("measured", "clips to the batch a core-second, video files", _optional(assumed["video_clips_per_core_s"])),
        (
            "measured",
            f"JPEG bytes per frame, quality {settings['jpeg_quality']}",
            f"{measured['jpeg_bytes_per_frame']:,.0f}",
        ),
        ("measured", "JPEG frames read a core-second", f"{measured['jpeg_read_frames_per_core_s']:,.0f}"),
        ("assumed", f"peak of the {assumed['gpu']}, dense bf16", f"{assumed['peak_tflops']:g} TFLOP/s"),
        (
            "assumed",
            "share of it that training reaches",
            _range([100 * x for x in assumed["utilisation"]], "{:.0f}") + " %",
        ),
        ("assumed", "cores beside each GPU", f"{assumed['cores_per_gpu']}"),
        ("assumed", f"a GPU hour ({assumed['gpu_price_date']})", f"{assumed['usd_per_gpu_hour']:.2f} USD"),
        ("assumed", "a core hour", f"{assumed['usd_per_core_hour']:.2f} USD"),
        ("the paper", "prompt tokens per frame", f"{assumed['prompt_tokens']}"),
        ("assumed", "completion tokens per frame", f"{assumed['completion_tokens']}"),
        ("fact", f"prices of {assumed['llm']}", f"OpenAI's of {llm_prices_of}"),
    ]
    return [{"what": f"{kind}: {what}", "value": value} for kind, what, value in lines]


def _data_rows(data: Mapping[str, float]) -> list[dict[str, str]]:
    rows = [
        {"what": "the videos as they come", "value": f"{data['videos_gb']:.1f} GB", "usd": ""},
        {"what": "packed store, training and validation", "value": f"{data['packed_gb']:.1f} GB", "usd": ""},
    ]
    labels = {
        "packing": "packing them, once",
        "training_from_videos": "decoding for training, from the videos",
        "training_from_packed": "decoding for training, from the packed store",
    }
    for key, label in labels.items():
        hours = f"{data[f'{key}_core_hours']:.1f} core hours"
        rows.append({"what": label, "value": hours, "usd": f"{data[f'{key}_usd']:.2f}"})
    return rows


_MODEL_COLUMNS = (
    Column("model"),
    Column("clip", "clip and size"),
    Column("gflop", "GFLOP a training clip", 1),
    Column("rate", "clips/s of the GPU"),
    Column("packed_hours", "GPU hours, packed store"),
    Column("packed_usd", "USD"),
    Column("videos_hours", "GPU hours, video files"),
    Column("videos_usd", "USD"),
    Column("basis", "rate of the GPU"),
)


def _model_rows(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "model": model["model"],
            "clip": model["description"],
            "gflop": model["training"] / 1e9,
            "rate": _range(model["clips_per_gpu_s"], "{:,.0f}"),
            "basis": model["basis"],
            **{
                f"{source}_{name}": _range(model[f"{source}_{key}"], "{:.3g}") + waits
                for source in ("packed", "videos")
                for name, key, waits in (
                    ("hours", "gpu_hours", "*" if model[f"{source}_waits"] else ""),
                    ("usd", "usd", ""),
                )
            },
        }
        for model in models
    ]


def _guidance_rows(guidance: Mapping[str, float], assumed: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "videos": f"{100 * share:g} % of the training videos",
            "frames": f"{guidance[f'{name}_frames']:,}",
            "usd": f"{guidance[f'{name}_usd']:.2f}",
            "batch": f"{guidance[f'{name}_batch_usd']:.2f}",
        }
        for name, share in (("share", assumed["guided_share"]), ("all", 1.0))
    ]


def _optional(value: float | None) -> str:
    return NOT_RUN if value is None else f"{value:.1f}"


def _range(values: Sequence[float], form: str) -> str:
    ends = [form.format(value) for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))


if __name__ == "__main__":
    sys.exit(main())
