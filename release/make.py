"""Makes what lies in this folder: five small models and a guidance data set, with their cards, seeds and hashes.

    python release/make.py --out outputs/release    # makes all of it anew, and says how it compares with this folder
    python release/make.py --check true             # whether this folder is what its release.json says
    python release/make.py --renew_code true        # after a change of modeling_*: its code to the models here

Three quarters of an hour on two cores; after a break the same command goes on with the model that it was at. On other
machines or with other versions the bits of the weights differ, as sums are rounded in another order; what then has to
agree is the metrics, within `TOLERANCE`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import multiprocessing
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from vidreason.a2o import run as object_centric
from vidreason.annotation import NoiseModel, truth_guidance
from vidreason.command_line import run_command
from vidreason.demo.world import GRID, TRAINING_NOISE, build_data
from vidreason.errors import ConfigError
from vidreason.files import read_folder, write_whole
from vidreason.guidance import write_guidance
from vidreason.publishing.guidance_folder import PublishSettings, publish_folder
from vidreason.publishing.release import address_card, stage_model
from vidreason.rs import run as supervised
from vidreason.study.detections import DetectionSource, write_source
from vidreason.study.plugins import DataPlaces
from vidreason.synthetic.actions.config import DEFAULT_SPLIT_SIZES
from vidreason.synthetic.assembly import AssemblyConfig, build_synthetic_assembly

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "recipes" / "study"
CARDS = HERE.parent / "model_cards" / "released"
MODEL_CODE = tuple(HERE.parent / name for name in ("modeling_tsvit", "modeling_a2o"))
RECORD = "release.json"
OWN_FILES = (RECORD, "README.md", Path(__file__).name)

SEED = 0
"""Of the worlds, of the guidance's mistakes and of the trainings, as in the study's runs of seed 0."""

TOLERANCE = 0.1
"""How far a share may be from the recorded one: three standard errors of an accuracy over 240 clips."""

SHARES = ("top1", "top5", "attention_in_region", "pointing_accuracy", "mof", "edit", "f1_10", "f1_25", "f1_50")

GUIDANCE_ID = "vidreason/synthetic-actions-guidance"


@dataclass(frozen=True)
class Plan:
    """How a model is made.

    Args:
        repo_id: Its name on the Hub, which its card has.
        recipe: Recipe of the study that it is a run of.
        method: Named method of training.
        world: "actions" or "assembly".
        study: Folder in `docs/results` of the study that it is a run of.
        maps: Whether it is shown object maps.
        settings: Further settings of the training, by name.
    """

    repo_id: str
    recipe: str
    method: str
    world: str
    study: str
    maps: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


_ACTIONS, _METHODS = "vidreason/tsvit-synthetic-actions", ("actions", "methods")

MODELS = {
    "plain": Plan(f"{_ACTIONS}-plain", "tsvit.yaml", "plain", *_METHODS),
    "rs": Plan(f"{_ACTIONS}-rs", "tsvit.yaml", "reasoning_supervision", *_METHODS),
    "rs_evidence": Plan(f"{_ACTIONS}-evidence", "tsvit.yaml", "evidence_supervision", *_METHODS),
    "assembly": Plan(
        "vidreason/tsvit-synthetic-assembly-rs",
        *("assembly_tsvit.yaml", "reasoning_supervision", "assembly", "assembly"),
    ),
    "object_maps": Plan(
        "vidreason/a2o-tsvit-synthetic-actions",
        *("tsvit.yaml", "object_centric", "actions", "object_maps"),
        maps=True,
        # The adapter starts from zero: at the classifier's rate it learns next to nothing in so short a training, and
        # the model answers as a plain one. Maps are of the frames' size, so that users need not know another.
        settings={"model_type": "a2o_tsvit", "adapter_learning_rate": 1e-2},
    ),
}
"""Name of the folder -> how it is made."""

NOTES = (
    "Its world is drawn: one arm, plain objects, textured backgrounds. It has seen no person and no real video, and "
    "its answers on them mean nothing.",
    f"Trained and, above, tested on the {{world}} world of seed {SEED}, whose test splits share no video with the "
    "training split, and with training seed 0. One seed says little{study}.",
)
MAPS_STUDY, MAPS_SETTING = "object_maps.yaml", "objects_noisy"
"""The study's recipe, and the value of its axis `maps` that the released model was trained with."""

MAPS_NOTE = (
    "Its object maps were made from the world's ground truth with a detector's mistakes ({mistakes}), not by a "
    "detector that looks at pixels. The results above are with such maps."
)
ACTIONS_NOTE = (
    "`make demo` tests it on a world of another seed (10), rendered afresh, which was fixed before any result there "
    "was seen."
)


@dataclass
class MakeArguments:
    """What is made, and where."""

    out: str = field(
        default="outputs/release", metadata={"help": "Folder to write the release to; `release` renews this one."}
    )
    work: str = field(default="outputs/release_work", metadata={"help": "Folder of worlds and trainings."})
    check: bool = field(default=False, metadata={"help": "Only see whether `release` is what its record says."})
    renew_code: bool = field(
        default=False, metadata={"help": "Only copy the present code of the models to those of `release`."}
    )
    num_proc: int = field(default=2, metadata={"help": "Processes that render and train side by side."})
    trial: bool = field(
        default=False, metadata={"help": "Tiny worlds and two steps, to try the script; nothing to keep."}
    )


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(make, MakeArguments)


def make(args: MakeArguments) -> None:
    """Check this folder, or make all of it anew in another and compare.

    Args:
        args: What is made, and where.

    Raises:
        VidreasonError: A file is not what the record says, or a model or the data set cannot be made.
    """
    if args.renew_code:
        print(f"{renew_code(HERE)} files of code are now the present ones")
    if args.check or args.renew_code:
        print(f"{HERE.name}: {check(HERE)} files are what {RECORD} says")
        return
    work, out = Path(args.work), Path(args.out)
    worlds = {"actions": make_actions(work, args), "assembly": make_assembly(work, args)}
    worlds["actions"]["detections"] = make_detections(worlds["actions"]["world"], work / "detections")
    commands = {name: training_command(plan, worlds[plan.world], work / name, args) for name, plan in MODELS.items()}
    records = train_all(commands, args.num_proc)
    before = read_record(HERE) if (HERE / RECORD).is_file() else None
    for name, plan in MODELS.items():
        stage(name, plan, work / name, out / name)
    publish_guidance(worlds["actions"]["world"] / "truth", work / "guidance_test", out / "guidance")
    record = {
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "vidreason")}
        | {"python": platform.python_version()},
        "worlds": {"actions": f"synthetic actions, seed {SEED}", "assembly": f"synthetic assembly, seed {SEED}"},
        "guidance_noise": noise().description,
        "detections": maps_source().settings,
        "models": records,
        "files": hashes(out),
    }
    write_whole(out / RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n")
    print(f"{len(record['files'])} files, {size_of(out) / 1e6:.1f} MB, are in {out}")
    if before is not None and not args.trial:
        print("\n".join(compare(before, record)))


def noise() -> NoiseModel:
    """The mistakes that the guidance for training is made with."""
    shares = {name: getattr(TRAINING_NOISE, name) for name in ("missed_frames", "misplaced_cells", "extra_cells")}
    return NoiseModel(**shares, seed=SEED)


def make_actions(work: Path, args: MakeArguments) -> dict[str, Path]:
    """Render the world of short clips with its guidance: name -> folder."""
    sizes = dict.fromkeys(DEFAULT_SPLIT_SIZES, 12) if args.trial else None
    data = build_data(work / "actions", SEED, sizes, args.num_proc)
    return {"world": data.manifest_folder, "guidance": data.training_guidance, "true": data.true_guidance}


def make_assembly(work: Path, args: MakeArguments) -> dict[str, Path]:
    """Render the world of long videos with its guidance: name -> folder."""
    folder = work / "assembly_data"
    config = AssemblyConfig(min_duration_s=8.0, max_duration_s=26.0) if args.trial else AssemblyConfig()
    sizes = {"train": 1, "test": 1, "test_shifted": 1} if args.trial else None
    build_synthetic_assembly(folder / "world", config, sizes, seed=SEED, num_proc=args.num_proc)
    truth = read_folder(folder / "world" / "truth")
    noisy = {"train": truth_guidance(truth["train"], GRID, noise())}
    write_guidance(folder / "guidance_training", noisy, title="Noisy ground-truth guidance")
    true = {split: truth_guidance(rows, GRID) for split, rows in truth.items()}
    write_guidance(folder / "guidance_true", true, title="Ground-truth guidance")
    return {
        "world": folder / "world",
        "guidance": folder / "guidance_training",
        "true": folder / "guidance_true",
    }


def maps_source() -> DetectionSource:
    """Who detects which classes for the maps, as the study has it."""
    study = yaml.safe_load((RECIPES / MAPS_STUDY).read_text(encoding="utf-8"))
    return DetectionSource.read(study["axes"]["maps"][MAPS_SETTING]["detections"], MAPS_STUDY)


def make_detections(world: Path, table: Path) -> Path:
    """Write the detections that the model is shown, of all splits of a world: the folder of their table."""
    splits = list(read_folder(world))
    store = table.with_suffix(".sqlite")  # of no use to truth, which is faster than a look into it
    data = DataPlaces(folder=table.parent, manifest=world, truth=world / "truth")
    write_source(table, maps_source(), data, splits, SEED, store)
    return table


def training_command(plan: Plan, world: Mapping[str, Path], folder: Path, args: MakeArguments) -> list[str]:
    """The arguments of `train.py` for a model: the study's recipe, its method, and where things lie."""
    flags: dict[str, Any] = {
        "method": plan.method,
        "manifest": world["world"],
        "output_dir": folder,
        "seed": SEED,
        "license": "apache-2.0",
        "disable_tqdm": True,
    }
    flags |= plan.settings
    if plan.maps:
        flags |= {"detections": world["detections"], "object_classes": maps_source().classes}
    else:
        flags |= {"guidance": world["guidance"], "evaluation_guidance": world["true"]}
    if args.trial:
        flags |= {"max_steps": 2}
    command = [str(RECIPES / plan.recipe)]
    for flag, value in flags.items():
        command += [f"--{flag}", *(value if isinstance(value, tuple) else [str(value)])]
    return command


def train_all(commands: Mapping[str, list[str]], num_proc: int) -> dict[str, Any]:
    """Train every model, several side by side: name -> what the record says of it."""
    if num_proc == 1:
        return {name: train_once(command, name) for name, command in commands.items()}
    # a process for each of a few: the models are too small to keep several cores busy
    with ProcessPoolExecutor(num_proc, mp_context=multiprocessing.get_context("spawn")) as pool:
        return dict(zip(commands, pool.map(train_once, commands.values(), commands), strict=True))


def train_once(command: list[str], name: str) -> dict[str, Any]:
    """Train a model, unless the same command has done it before: what the record says of it."""
    system = object_centric if MODELS[name].maps else supervised
    model_args, data_args, args = system.parse_arguments(command)
    folder = Path(str(args.output_dir))
    request = {"recipe_sha256": sha256(Path(command[0])), "command": command[1:]}
    done = folder / "done.json"
    if done.is_file():
        found = json.loads(done.read_text(encoding="utf-8"))
        if found["request"] == request:
            return found["record"]
    shutil.rmtree(folder, ignore_errors=True)
    torch.set_num_threads(1)  # sums are rounded by the number of threads: with one, runs agree to the bit
    print(f"training {name}", flush=True)
    result = system.run_training(model_args, data_args, args)
    record = {
        "repo_id": MODELS[name].repo_id,
        "recipe": f"recipes/study/{MODELS[name].recipe}",
        "recipe_sha256": request["recipe_sha256"],
        "method": MODELS[name].method,
        "seed": SEED,
        "epochs": args.num_train_epochs,
        "device": result.device,
        "train_seconds": round(result.train_seconds, 1),
        "metrics": result.metrics,
    }
    write_whole(done, json.dumps({"request": request, "record": record}, indent=1))
    return record


def stage(name: str, plan: Plan, trained: Path, out: Path) -> None:
    """Copy a model as it goes to the Hub, with its card under the name it has there."""
    shutil.rmtree(out, ignore_errors=True)
    stage_model(trained, out)
    # only where they are: a card must not name results that were not made yet
    has_results = (HERE.parent / "docs" / "results" / plan.study).is_dir()
    study = f": docs/results/{plan.study} has five" if has_results else ""
    notes = [note.format(world=f"synthetic {plan.world}", study=study) for note in NOTES]
    if plan.maps:
        options = maps_source().options
        notes.append(MAPS_NOTE.format(mistakes=", ".join(f"{name} {value}" for name, value in options.items())))
    elif plan.world == "actions":
        notes.append(ACTIONS_NOTE)
    address_card(out / "README.md", plan.repo_id, notes)
    if out.parent.resolve() == HERE:
        CARDS.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(out / "README.md", CARDS / f"{plan.repo_id.split('/')[1]}.md")


def publish_guidance(truth: Path, table: Path, out: Path) -> None:
    """Publish the true guidance of the test splits: rows and a card, no pixels."""
    rows = read_folder(truth)
    splits = {split: truth_guidance(rows[split], GRID) for split in ("test", "test_shifted")}
    write_guidance(table, splits, title="Guidance of synthetic actions")
    settings = PublishSettings(
        title="Guidance of synthetic actions, test splits",
        description=(
            f"Where the hand and what it handles are, on a 4x4 grid, in every frame of the test splits of the "
            f"synthetic actions, world of seed {SEED}, by its ground truth. The clips themselves are rendered by "
            f"`python datasets_scripts/build_synthetic_actions.py --seed {SEED} --out data/world`."
        ),
        license="cc-by-4.0",
        repo_id=GUIDANCE_ID,
        overwrite=True,
    )
    publish_folder(table, out, settings)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def released_files(folder: Path) -> Iterator[Path]:
    """The files of a release but for its record and what explains and makes it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in OWN_FILES and "__pycache__" not in path.parts:
            yield path


def hashes(folder: Path) -> dict[str, str]:
    """Path relative to a release -> SHA-256, of all its files."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in released_files(folder)}


def size_of(folder: Path) -> int:
    """Bytes of all files of a release."""
    return sum(path.stat().st_size for path in released_files(folder))


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a release.

    Raises:
        ConfigError: It is not there, or no record.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        record["models"], record["files"]  # a KeyError where it is none
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / RECORD} is no record of a release ({type(error).__name__}: {error})") from error
    return record


def check(folder: Path) -> int:
    """See that a release's files are those of its record, no more and no fewer, and return their number.

    Args:
        folder: Folder of the release.

    Raises:
        ConfigError: A file is another one, is missing, or is not in the record.
    """
    recorded, found = read_record(folder)["files"], hashes(folder)
    faults = [f"{name} is missing" for name in recorded.keys() - found.keys()]
    faults += [f"{name} is not in the record" for name in found.keys() - recorded.keys()]
    faults += [f"{name} is another file" for name in recorded.keys() & found.keys() if recorded[name] != found[name]]
    if faults:
        raise ConfigError(f"{folder}: {'; '.join(sorted(faults))}")
    return len(found)


def renew_code(folder: Path) -> int:
    """Put the present code of the model into a release of trained weights, and return the number of changed files.

    Args:
        folder: Folder of the release, which must be what its record says.

    Raises:
        ConfigError: It is not.
    """
    check(folder)
    record = read_record(folder)
    present = {path.name: path for code in MODEL_CODE for path in code.glob("*.py")}
    copies = [path for name in MODELS for path in (folder / name).glob("*.py")]
    changed = [path for path in copies if path.read_bytes() != present[path.name].read_bytes()]
    for path in changed:
        shutil.copyfile(present[path.name], path)
    write_whole(folder / RECORD, json.dumps(record | {"files": hashes(folder)}, indent=1, allow_nan=False) + "\n")
    return len(changed)


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """How a release that was made anew compares with the recorded one, in a line for each model and the data set.

    Args:
        before: Record of the release.
        after: Record of what was made anew.
    """
    lines = []
    for name in MODELS:
        weights = f"{name}/model.safetensors"
        if before["files"].get(weights) == after["files"][weights]:
            lines.append(f"{name}: the same weights, to the bit")
            continue
        farthest = max(
            (abs(value - after["models"][name]["metrics"][split][metric]), f"{metric} on {split}")
            for split, metrics in before["models"][name]["metrics"].items()
            for metric, value in metrics.items()
            if metric in SHARES
        )
        verdict = "within" if farthest[0] <= TOLERANCE else "NOT within"
        lines.append(
            f"{name}: other bits, metrics {verdict} {100 * TOLERANCE:g} points; farthest is {farthest[1]} by "
            f"{100 * farthest[0]:.1f}"
        )
    tables = {path for path in after["files"] if path.startswith("guidance/data/")}
    same = all(before["files"].get(path) == after["files"][path] for path in tables)
    lines.append(f"guidance: {'the same tables, to the bit' if same else 'other files'}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
