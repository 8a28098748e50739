"""Let a language model write recognisers, and run them: the AutoML baseline of the paper's section 4.5.2.

    python -m vidreason.a2o.automl --manifest data/world --out outputs/automl --model gpt-4.1-mini --max_cost_usd 1 \
            --run_generated_code

Code of the language model is run, confined as `vidreason.a2o.automl.sandbox` says, and only with that flag.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...command_line import run_command
from ...errors import ConfigError
from ...files import write_whole
from ...llm.store import RequestStore
from ...manifests.manifest import load_manifest
from ..agents.language_model import openai_model
from .clips import write_clips
from .sandbox import CodeTraining, SandboxLimits
from .search import CodeSearchResult, CodeSearchSettings, search_code, train_best

REQUESTS_NAME, RESULT_FILE = "requests.sqlite", "result.json"


@dataclass(frozen=True)
class AutoMLArguments(CodeSearchSettings):
    """Which videos, which language model, and what its code may do."""

    manifest: str = field(default="", metadata={"help": "Manifest of the videos."})
    out: str = field(default="", metadata={"help": "Folder of the search; one that was broken off there goes on."})
    run_generated_code: bool = field(
        default=False, metadata={"help": "Run code that the language model writes, confined. Nothing is done without."}
    )
    allow_unconfined: bool = field(
        default=False,
        metadata={"help": "Run it also where this system cannot confine it. It can then do what you can."},
    )
    model: str = field(default="gpt-4.1-mini", metadata={"help": "Name of the language model at its server."})
    base_url: str | None = field(default=None, metadata={"help": "Address of an OpenAI-compatible server."})
    max_cost_usd: float | None = field(default=None, metadata={"help": "Money that may be spent on answers."})
    max_completion_tokens: int = field(default=8000, metadata={"help": "Tokens at which an answer is cut."})
    validation_split: str = field(default="validation", metadata={"help": "Split that attempts are judged by."})
    test_splits: list[str] = field(
        default_factory=lambda: ["test"], metadata={"help": "Splits that the best one is judged by at the end."}
    )
    num_frames: int = field(default=16, metadata={"help": "Frames of a clip."})
    size_px: int = field(default=64, metadata={"help": "Height and width of a clip in pixels."})
    num_epochs: int = field(default=1, metadata={"help": "Epochs of an attempt's training."})
    batch_size: int = field(default=8, metadata={"help": "Clips of one step."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of AdamW."})
    weight_decay: float = field(default=1e-4, metadata={"help": "Weight decay of AdamW."})
    seconds: float = field(default=300.0, metadata={"help": "Seconds of one attempt."})
    final_seconds: float = field(default=3600.0, metadata={"help": "Seconds of the training in full."})
    memory_mb: int = field(default=6144, metadata={"help": "Address space of one attempt in MiB, torch included."})
    num_threads: int = field(default=1, metadata={"help": "Threads of torch."})
    max_parameters: int = field(default=50_000_000, metadata={"help": "Most parameters of a model."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.manifest or not self.out:
            raise ConfigError("manifest and out are needed: the videos, and the folder of the search")
        if not self.run_generated_code:
            raise ConfigError("this runs code that a language model writes: say so with --run_generated_code")
        if self.validation_split in self.test_splits:
            raise ConfigError(f"split {self.validation_split!r} chooses the best attempt, and cannot be a test split")

    def part(self, kind: type[Any], **changed: Any) -> Any:
        """The settings of one of the parts, which have the same names there."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(kind) if hasattr(self, entry.name)}
        return kind(**values | changed)


def run(args: AutoMLArguments) -> None:
    """Read the clips, search, train the best in full, and print what came of it."""
    out, manifest = Path(args.out), load_manifest(args.manifest)
    settings, training = args.part(CodeSearchSettings), args.part(CodeTraining)
    # two files: code that is tried has no test clips before its eyes
    clips = write_clips(out / "search.safetensors", manifest, [args.validation_split], args.num_frames, args.size_px)
    with RequestStore(out / REQUESTS_NAME) as store:
        model = openai_model(
            store,
            args.model,
            args.base_url,
            max_cost_usd=args.max_cost_usd,
            max_completion_tokens=args.max_completion_tokens,
        )
        limits = args.part(SandboxLimits)
        attempts = search_code(model, clips, out, settings, training, limits, args.allow_unconfined)
    for attempt in attempts:
        shown = f"{attempt.accuracy:.4f}" if attempt.accuracy is not None else attempt.reason.split("\n")[0][:80]
        print(f"attempt {attempt.number}: {attempt.status} {shown}")
    splits = [args.validation_split, *args.test_splits]
    judged = write_clips(out / "final.safetensors", manifest, splits, args.num_frames, args.size_px)
    limits = args.part(SandboxLimits, seconds=args.final_seconds)
    result = train_best(attempts, judged, settings, training, limits, args.allow_unconfined)
    write_whole(out / RESULT_FILE, json.dumps(result_facts(result), indent=1) + "\n")
    if result.final is None:
        print("no attempt could be judged, so there is nothing to train in full")
    elif not result.accuracy:
        print(f"attempt {result.best} in full: {result.final.status} {result.final.reason}")
    for part, accuracy in result.accuracy.items():
        print(f"attempt {result.best} in full, {part}: {accuracy:.4f}")
    print(f"written to {out}")


def result_facts(result: CodeSearchResult) -> dict[str, Any]:
    """The outcome as JSON."""
    final = result.final
    return {
        "best": result.best,
        "accuracy": result.accuracy,
        "final_status": final.status if final else None,
        "final_reason": final.reason if final else None,
        "final_seconds": final.seconds if final else None,
        "num_parameters": final.num_parameters if final else None,
        "cost_usd": sum(attempt.answer.get("cost_usd", 0.0) for attempt in result.attempts),
        "statuses": [attempt.status for attempt in result.attempts],
    }


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(run, AutoMLArguments)


if __name__ == "__main__":
    sys.exit(main())
