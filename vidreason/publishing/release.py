"""Write a model's folder or the Space as they go to the Hub, and send them there when told to.

    python -m vidreason.publishing.release --kind model --folder outputs/mine --repo_id owner/model --out out/model
    python -m vidreason.publishing.release --kind space --model_ids owner/model --repo_id owner/space --out out/space

Without --push nothing leaves this machine: the files that would go are listed. Only files of known kinds are taken,
so that pickled training arguments, optimizer states and keys that lie about stay here. `docs/release.md` leads
through it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, RepoCard
from huggingface_hub.utils import HFValidationError, validate_repo_id

from ..command_line import run_command
from ..errors import ConfigError, VidreasonError

# beside the package both in a clone and where the wheel is installed
REPOSITORY = Path(__file__).resolve().parents[2]
SPACE_FOLDER = REPOSITORY / "space_app"

KINDS = ("model", "space")
# a list of what goes, not of what stays: a folder of training holds pickles, states and logs
MODEL_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "config.json", "*preprocessor_config.json", "README.md")
CODE_PATTERNS = (
    *("configuration_*.py", "modeling_*.py", "layers_*.py", "temporal_views_*.py", "video_processing_*.py"),
    "action_segmentation_*.py",
)
SPACE_PATTERNS = ("README.md", "requirements.txt", "app.py", "clipview/*")
WHEEL_SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "vidreason",
    "modeling_tsvit",
    "modeling_a2o",
    "datasets_scripts",
    "space_app",
)
_LARGE_BYTES = 5 * 2**30
_LIMITS_HEADING = "\n## Limits and biases\n\n"


@dataclass
class ReleaseArguments:
    """What goes to the Hub, and where to."""

    kind: str = field(metadata={"help": "model or space.", "choices": list(KINDS)})
    repo_id: str = field(metadata={"help": "Where it goes on the Hub, <owner>/<name>."})
    out: str = field(metadata={"help": "Folder to write: exactly what goes to the Hub. It must not exist."})
    folder: str | None = field(default=None, metadata={"help": "Folder of the trained model, for --kind model."})
    notes: list[str] = field(
        default_factory=list, metadata={"help": "Limits that only you know, for the card of --kind model."}
    )
    model_ids: list[str] = field(default_factory=list, metadata={"help": "Hub ids that the Space shows."})
    guidance_ids: list[str] = field(default_factory=list, metadata={"help": "Hub ids of guidance tables it knows."})
    wheel: str | None = field(
        default=None, metadata={"help": "The library's wheel, for --kind space; it is built where none is given."}
    )
    push: bool = field(default=False, metadata={"help": "Send it. Without this, nothing leaves this machine."})
    private: bool = field(default=False, metadata={"help": "A repository that is made for it is private."})


def release(args: ReleaseArguments) -> None:
    """Write, list, and send if told to.

    Raises:
        VidreasonError: something is missing, or the Hub does not take it.
    """
    try:
        validate_repo_id(args.repo_id)
    except HFValidationError as error:
        raise ConfigError(f"--repo_id {args.repo_id}: {error}") from error
    out = Path(args.out)
    if out.exists():
        raise ConfigError(f"--out {out} exists already; name a new folder")
    if args.kind == "model":
        stage_model(Path(args.folder or ""), out)
        address_card(out / "README.md", args.repo_id, args.notes)
    else:
        stage_space(out, args.repo_id, args.model_ids, args.guidance_ids, Path(args.wheel) if args.wheel else None)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    for path in files:
        print(f"{path.stat().st_size:>14,} bytes  {path.relative_to(out).as_posix()}")
    if not args.push:
        print(f"nothing was sent; with --push these {len(files)} files would go to the {args.kind} {args.repo_id}")
        return
    variables = {"MODEL_IDS": ",".join(args.model_ids), "GUIDANCE_IDS": ",".join(args.guidance_ids)}
    print(f"published: {push(out, args.repo_id, args.kind, args.private, variables if args.kind == 'space' else {})}")


def stage_model(folder: Path, out: Path) -> None:
    """Copy what a model consists of.

    Raises:
        ConfigError: there is no model with a card in the folder.
    """
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise ConfigError(f"--folder {folder}: no config.json with safetensors in it")
    if not (folder / "README.md").is_file():
        raise ConfigError(f"--folder {folder}: no README.md; a model is not published without its card")
    _copy(folder, out, _matching(folder, (*MODEL_PATTERNS, *CODE_PATTERNS)))


def address_card(path: Path, repo_id: str, notes: Sequence[str] = ()) -> None:
    """Give a model's card the name that the model has on the Hub, so that its code runs as it is printed there.

    Args:
        path: The card's file; its results carry the name that the model had in training.
        repo_id: Name of the model on the Hub.
        notes: Further limits, one sentence or two each.

    Raises:
        ConfigError: notes are given, and the card has no place for them.
    """
    card = ModelCard.load(path)
    name = card.data.model_name
    if name:
        card.data.model_name = repo_id
        card.text = card.text.replace(f'"{name}"', f'"{repo_id}"').replace(f"\n# {name}\n", f"\n# {repo_id}\n")
    if notes:
        if _LIMITS_HEADING not in card.text:
            raise ConfigError(f"{path}: no section {_LIMITS_HEADING.strip()!r} for --notes")
        points = "".join(f"- {note}\n" for note in notes)
        card.text = card.text.replace(_LIMITS_HEADING, _LIMITS_HEADING + points, 1)
    card.save(path)


def stage_space(
    out: Path, repo_id: str, model_ids: Sequence[str], guidance_ids: Sequence[str], wheel: Path | None
) -> None:
    """Copy the Space's files, with the library's wheel beside them and named in `requirements.txt`.

    Raises:
        ConfigError: no checkpoint is named, or the wheel cannot be built or found.
    """
    if not model_ids:
        raise ConfigError("--model_ids: name the checkpoints on the Hub that the Space shows")
    _copy(SPACE_FOLDER, out, _matching(SPACE_FOLDER, SPACE_PATTERNS))
    if wheel is None:
        wheel = build_wheel(out)
    elif not wheel.is_file():
        raise ConfigError(f"--wheel {wheel}: no such file")
    else:
        wheel = Path(shutil.copy(wheel, out))
    address = f"https://huggingface.co/spaces/{repo_id}/resolve/main/{wheel.name}"
    (out / "requirements.txt").write_text(f"vidreason[space] @ {address}\n", encoding="utf-8")
    card = RepoCard.load(out / "README.md")
    card.data.models, card.data.datasets = list(model_ids), list(guidance_ids) or None
    card.save(out / "README.md")


def build_wheel(out: Path) -> Path:
    """The library as a wheel in a folder. Built from a copy: what an earlier build left behind would go into it."""
    with tempfile.TemporaryDirectory() as copy:
        for name in WHEEL_SOURCES:
            source, target = REPOSITORY / name, Path(copy) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target)
        # without dependencies: the Space installs its own
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), copy]
        finished = subprocess.run(command, capture_output=True, text=True)
    wheels = list(out.glob("vidreason-*.whl"))
    if finished.returncode or len(wheels) != 1:
        raise ConfigError(f"the library's wheel cannot be built: {finished.stderr.strip()[-500:]}")
    return wheels[0]


def push(
    out: Path, repo_id: str, kind: str, private: bool, variables: dict[str, str], api: HfApi | None = None
) -> str:
    """Send a written folder, and return the address of the commit.

    Args:
        out: Folder that is sent as it is.
        repo_id: Name of the repository on the Hub.
        kind: Either "model" or "space".
        private: Whether a repository that is made for it is private.
        variables: Variables of the Space; empty ones are left out.
        api: Client of the Hub; by default one that takes its token from the environment or the login.

    Raises:
        VidreasonError: the Hub does not take it.
    """
    api = api or HfApi()
    space_sdk = "gradio" if kind == "space" else None
    try:
        api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True, space_sdk=space_sdk)
        for name, value in variables.items():
            if value:
                api.add_space_variable(repo_id, name, value)
        commit = api.upload_folder(repo_id=repo_id, repo_type=kind, folder_path=out, commit_message="Release")
    except Exception as error:  # whatever the client and the network raise, the user needs to know what did not go
        raise VidreasonError(f"{repo_id} was not published: {type(error).__name__}: {error}") from error
    return commit.commit_url


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    large = [path.name for path in found if path.stat().st_size > _LARGE_BYTES]
    if large:
        raise ConfigError(f"{folder}: {large} are larger than {_LARGE_BYTES} bytes; save the model in shards")
    return sorted(found)


def _copy(folder: Path, out: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        target = out / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(release, ReleaseArguments)


if __name__ == "__main__":
    sys.exit(main())
