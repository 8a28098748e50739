"""A table, as of guidance or detections, as it goes to the Hub: checked Parquet shards, a card, an example picture."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..annotation.job import AnnotationRun, read_run
from ..errors import GuidanceError, VidreasonError
from ..files import FileLimits, write_split
from ..manifests.manifest import Manifest
from ..reporting.tables import RowSummary, merge_summaries
from ..scenegraph.schema import CONFIGURATIONS
from .checks import PublishChecker, find_leak
from .graphs import write_graph_example, write_published_graphs
from .guidance_card import (
    CARD_FILE,
    EXAMPLE_FILE,
    CardFacts,
    ExamplePicture,
    count_prompts,
    write_example,
    write_guidance_card,
)
from .table_kinds import GRAPHS, GUIDANCE, KINDS, TableKind, find_kind

logger = logging.getLogger(__name__)

DATA_FOLDER = "data"

PIXELS_NOTE = (
    "The example shows pixels of the videos, whose own licence ({sources}) says whether they may be shown: it is not "
    "the licence of the {kind}."
)


@dataclass(frozen=True)
class PublishSettings:
    """How a table is published: what its card says, and how its files are cut."""

    title: str = field(default="", metadata={"help": "Heading of the card; the kind of the table by default."})
    description: str = field(default="", metadata={"help": "A paragraph for the card."})
    license: str | None = field(default=None, metadata={"help": "Licence of the table, such as cc-by-4.0."})
    repo_id: str | None = field(default=None, metadata={"help": "Name of the data set on the Hub, <owner>/<name>."})
    num_examples: int = field(
        default=4, metadata={"help": "Frames in the example picture; 0 for none.", "aliases": ["--examples"]}
    )
    with_pixels: bool = field(
        default=False, metadata={"help": "Show the videos in the example picture; their licence must allow it."}
    )
    raw_responses: bool = field(default=True, metadata={"help": "Keep what a model said, word for word."})
    max_rows_per_file: int = field(default=500_000, metadata={"help": "Largest number of rows of a Parquet file."})
    max_mb_per_file: int = field(default=400, metadata={"help": "Largest size of a Parquet file in 10^6 bytes."})
    seed: int = field(default=0, metadata={"help": "Seed of the choice of examples."})
    overwrite: bool = field(default=False, metadata={"help": "Replace what an earlier call wrote."})

    def __post_init__(self):
        if self.num_examples < 0:
            raise GuidanceError(f"--examples is {self.num_examples}, expected 0 or more")
        if self.repo_id is not None:
            check_repo_id(self.repo_id)

    @property
    def limits(self) -> FileLimits:
        """When the next Parquet file is begun."""
        return FileLimits(self.max_rows_per_file, self.max_mb_per_file * 1_000_000)


@dataclass(frozen=True)
class PublishedFolder:
    """What lies ready for the Hub.

    Args:
        folder: Folder that holds exactly the files that go to the Hub.
        files: Size in bytes of each file, by its path relative to the folder.
        num_rows: Number of rows of all splits.
        unknown_prompts: Ids of prompts whose text the card does not have.
        message: What a commit says of it.
    """

    folder: Path
    files: dict[str, int]
    num_rows: int
    unknown_prompts: tuple[str, ...] = ()
    message: str = ""


def check_repo_id(repo_id: str) -> None:
    """Raise `GuidanceError` unless this can be the name of a data set on the Hub, owner included."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise GuidanceError(f"--repo_id: {error}") from None
    if repo_id.count("/") != 1:
        raise GuidanceError(f"--repo_id is {repo_id!r}, expected <owner>/<name>")


def publish_folder(
    guidance: str | os.PathLike,
    out: str | os.PathLike,
    settings: PublishSettings | None = None,
    prompt_texts: Mapping[str, str] | None = None,
    manifest: Manifest | None = None,
    kinds: Sequence[TableKind] = KINDS,
) -> PublishedFolder:
    """Write what goes to the Hub. Every row is checked on its way; nothing is sent anywhere.

    Args:
        guidance: Folder of the table, of guidance or of another kind: its columns say which.
        out: Folder to write. It appears when all of it is written.
        settings: Settings of the published table.
        prompt_texts: Texts of prompts by their SHA-256, as from `read_prompt_texts`.
        manifest: Manifest of the videos; used for pixels where the settings want them, and for nothing else.
        kinds: Kinds that the table may be of.

    Raises:
        GuidanceError: a row breaks the contract, is there twice, or holds a key or a path of this machine; or `out`
            cannot be used.
    """
    settings = settings or PublishSettings()
    if settings.with_pixels and manifest is None:
        raise GuidanceError("--with_pixels needs --manifest, which tells where the videos are")
    guidance, out = Path(guidance), Path(out)
    _check_folders(guidance, out, settings.overwrite)
    kind, run = find_kind(guidance, kinds), read_run(guidance)
    splits = {split: rows for split, rows in kind.load(guidance).items() if len(rows)}
    if not splits:
        raise GuidanceError(f"{guidance}: there are no rows to publish")
    # beside the target, so that the last step is a rename on one file system
    work = out.with_name(f"{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    try:
        num_rows, unknown = _write_all(work, splits, run, settings, prompt_texts or {}, manifest, kind)
        if out.exists():
            shutil.rmtree(out)
        os.replace(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    message = f"Guidance for {num_rows} frames" if kind is GUIDANCE else f"{num_rows} rows of {kind.name}"
    return PublishedFolder(out, list_files(out), num_rows, unknown, message)


def _check_folders(guidance: Path, out: Path, overwrite: bool) -> None:
    if not guidance.is_dir():
        raise GuidanceError(f"{guidance}: there is no such folder")
    source, target = guidance.resolve(), out.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise GuidanceError(f"--out {out} must be apart from the table's own folder {guidance}")
    if not out.exists():
        return
    if not out.is_dir():
        raise GuidanceError(f"{out} is a file, expected a folder")
    foreign = sorted({path.name for path in out.iterdir()} - {CARD_FILE, DATA_FOLDER, EXAMPLE_FILE, *CONFIGURATIONS})
    if foreign:
        raise GuidanceError(f"{out} holds other files, such as {foreign[0]}; choose another folder")
    if any(out.iterdir()) and not overwrite:
        raise GuidanceError(f"{out} is not empty; pass --overwrite to replace what was published there")


def _write_all(
    folder: Path,
    splits: Mapping[str, Any],
    run: AnnotationRun | None,
    settings: PublishSettings,
    prompt_texts: Mapping[str, str],
    manifest: Manifest | None,
    kind: TableKind,
) -> tuple[int, tuple[str, ...]]:
    """Returns the number of rows, and the prompts whose text is not known."""
    pixels_of = manifest if settings.with_pixels else None
    summaries: Mapping[str, RowSummary]
    if kind is GRAPHS:
        summaries = write_published_graphs(folder, splits, settings.limits, not settings.raw_responses)
        example = write_graph_example(folder, splits, settings.num_examples, pixels_of)
    else:
        checker = PublishChecker(not settings.raw_responses, kind)
        limits = replace(settings.limits, batch_rows=kind.batch_rows)
        for split, rows in splits.items():
            write_split(folder, split, checker.watch(split, rows), kind.features, limits)
        summaries = checker.summaries
        example = write_example(folder, splits, settings.num_examples, pixels_of, settings.seed, kind)
    whole = merge_summaries(summaries.values(), kind.make_summary())
    facts = CardFacts(
        title=settings.title or kind.title,
        description=settings.description,
        license=settings.license,
        repo_id=settings.repo_id,
        example_alt=example.alt if example else "",
        example_note=_example_note(example, sorted(whole.sources), kind),
        raw_responses_dropped=not settings.raw_responses,
    )
    write_guidance_card(folder, facts, summaries, run, prompt_texts, kind)
    prompts = count_prompts(whole)
    unknown = tuple(sorted(prompt_id for prompt_id, sha256 in prompts if sha256 not in prompt_texts))
    if unknown:
        logger.warning("the card lacks the text of prompts %s: name their files with --prompt_files", list(unknown))
    return whole.rows, unknown


def _example_note(example: ExamplePicture | None, sources: list[str], kind: TableKind) -> str:
    if example is None:
        return ""
    if not example.num_with_pixels:
        return kind.blank_note
    logger.warning("the example picture shows pixels of %s; check that their licence allows it", ", ".join(sources))
    return PIXELS_NOTE.format(sources=", ".join(sources), kind=kind.name)


def list_files(folder: str | os.PathLike) -> dict[str, int]:
    """Path relative to the folder -> size in bytes, of all its files."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def push_folder(
    published: PublishedFolder, repo_id: str, private: bool = False, message: str = "", api: HfApi | None = None
) -> str:
    """Send a published folder to the Hub, and return the address of the commit.

    The repository is made where it does not exist. Shards of an earlier version that this one has not are removed.

    Args:
        published: The folder, as from `publish_folder`.
        repo_id: Name on the Hub, such as "organisation/name".
        private: Whether the repository is seen by its owners only. One that exists is never changed from one to the
            other.
        message: Message of the commit.
        api: Client of the Hub; by default one that takes its token from the environment or the login.

    Raises:
        GuidanceError: the folder is not what was published any more, or a private repository was asked for and there
            is a public one.
        VidreasonError: the Hub does not take it.
    """
    check_repo_id(repo_id)
    # what is sent is what was checked: a file that was put there since was not
    if list_files(published.folder) != published.files:
        raise GuidanceError(f"{published.folder} was changed since it was written; publish it again")
    api = api or HfApi()
    try:
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        if private and not api.repo_info(repo_id, repo_type="dataset").private:
            raise GuidanceError(f"{repo_id} exists already and is public: nothing was sent")
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=published.folder,
            commit_message=message or published.message,
            # shards of a longer, earlier version would otherwise stay and be loaded with the new ones
            delete_patterns=[f"{DATA_FOLDER}/*.parquet", f"*/{DATA_FOLDER}/*.parquet", EXAMPLE_FILE],
        )
    except VidreasonError:
        raise
    except Exception as error:  # whatever the client and the network raise, the user needs to know what did not go
        # errors of the client can hold the token that was refused
        detail = "" if find_leak(str(error)) else f": {error}"
        raise VidreasonError(f"{repo_id} was not published: {type(error).__name__}{detail}") from error
    return commit.commit_url
