"""What an operator sets, by variables of the environment, and the limits of a request."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vidreason.errors import ConfigError

GRID = (4, 4)
"""(rows, columns) of the guidance that is made here, as in the paper."""

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for. Sizes of files and pictures are looked at before anything is decoded.

    Args:
        max_bytes: Largest size of a file in bytes.
        max_duration_s: Longest video in seconds.
        max_side_px: Largest longer side of its frames as stored, in pixels.
        max_pixels: Largest width x height of its frames, as stored.
        max_frames: Largest number of frames of a video.
        max_decoded_pixels: Largest width x height x frames of a video; a core decodes that in some ten seconds.
        read_timeout_s: Seconds in which a video must be read; the process that reads it is ended then.
        request_timeout_s: Seconds for a request, reading included.
        read_memory_bytes: Address space of the process that reads videos, in bytes.
        kept_memory_bytes: Memory that such a process may have taken and still be used again, in bytes. It does not
            give back what a large clip took, so that another process takes its place.
        max_queue: Requests that wait; more are turned away.
        max_at_once: Requests that are worked on together.
    """

    max_bytes: int = 50 * MIB
    max_duration_s: float = 30.0
    max_side_px: int = 1920
    max_pixels: int = 1920 * 1920
    max_frames: int = 1800
    max_decoded_pixels: int = 1920 * 1080 * 900
    read_timeout_s: float = 20.0
    request_timeout_s: float = 60.0
    read_memory_bytes: int = 3 * 2**30
    kept_memory_bytes: int = 400 * MIB
    max_queue: int = 20
    max_at_once: int = 2

    def describe(self) -> str:
        """The limits in a line, for the visitor."""
        return (
            f"Videos up to {self.max_bytes // MIB} MB, {self.max_duration_s:g} seconds and {self.max_side_px} pixels "
            f"on the longer side. At most {self.max_queue} visitors wait in line."
        )


@dataclass(frozen=True)
class Drawing:
    """How videos are drawn.

    Args:
        max_side_px: Longer side of what is shown, in pixels; larger videos are scaled down.
        max_fps: Largest number of pictures a second in what is shown.
        guidance_fps: Pictures a second in which movement is measured.
        crf: Constant rate factor of x264, 0 (lossless) to 51.
        preset: Preset of x264. The fastest: writing is most of a request's time.
    """

    max_side_px: int = 448
    max_fps: float = 12.0
    guidance_fps: float = 4.0
    crf: int = 22
    preset: str = "ultrafast"


@dataclass(frozen=True)
class SpaceSettings:
    """What an operator sets.

    Args:
        model_ids: Local folders or Hub ids of the checkpoints.
        remote_code_ids: Those of `model_ids` whose own code may run. No other checkpoint's code ever does.
        guidance_ids: Folders or Hub ids of guidance tables, for clips that they know.
        examples_folder: Folder of the examples, which are rendered once.
        llm_base_url: Server for guidance from a language model; None is OpenAI's. Visitors cannot name one.
        offer_llm: Whether visitors may ask a language model with their own key.
        clips_kept_s: Seconds after which uploads, and what was made of them, are deleted.
        question_prompt: Prompt by which Video-LLMs are asked: one of `vidreason.videoqa.conversation.PROMPT_NAMES`, or
            the path of such a file. A model that was trained with another one wants that.
        project_url: Address that the page links to, or None.
        limits: Limits of a request.
        drawing: How videos are drawn.
    """

    model_ids: tuple[str, ...]
    remote_code_ids: tuple[str, ...] = ()
    guidance_ids: tuple[str, ...] = ()
    examples_folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()) / "vidreason_space_examples")
    llm_base_url: str | None = None
    offer_llm: bool = True
    clips_kept_s: int = 900
    question_prompt: str = "short_answer"
    project_url: str | None = None
    limits: Limits = Limits()
    drawing: Drawing = Drawing()

    def __post_init__(self):
        if not self.model_ids:
            raise ConfigError("no checkpoints: set MODEL_IDS to folders or Hub ids, with commas between them")
        unknown = sorted(set(self.remote_code_ids) - set(self.model_ids))
        if unknown:
            raise ConfigError(f"REMOTE_CODE_IDS names {unknown}, which are not among MODEL_IDS")
        if self.clips_kept_s < 1:
            raise ConfigError(f"CLIPS_KEPT_S is {self.clips_kept_s}, expected at least 1 second")
        if self.project_url and not self.project_url.startswith("https://"):
            raise ConfigError(f"PROJECT_URL is {self.project_url!r}, expected an address that begins with https://")

    @property
    def sweep_every_s(self) -> int:
        """Seconds between two looks for what is to be deleted."""
        return min(60, self.clips_kept_s)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> SpaceSettings:
        """Settings from the variables that `docs/space.md` lists.

        Raises:
            ConfigError: No checkpoint is named, code of one that is not named is allowed, or a value cannot be used.
        """
        names = {name: _split(environment.get(name, "")) for name in ("MODEL_IDS", "REMOTE_CODE_IDS", "GUIDANCE_IDS")}
        optional = {}
        if environment.get("EXAMPLES_FOLDER"):
            optional["examples_folder"] = Path(environment["EXAMPLES_FOLDER"])
        kept = environment.get("CLIPS_KEPT_S") or "900"
        if not kept.isdecimal():
            raise ConfigError(f"CLIPS_KEPT_S is {kept!r}, expected a number of seconds")
        return cls(
            model_ids=names["MODEL_IDS"],
            remote_code_ids=names["REMOTE_CODE_IDS"],
            guidance_ids=names["GUIDANCE_IDS"],
            llm_base_url=environment.get("LLM_BASE_URL") or None,
            offer_llm=environment.get("OFFER_LLM", "1") != "0",
            clips_kept_s=int(kept),
            question_prompt=environment.get("QUESTION_PROMPT") or "short_answer",
            project_url=environment.get("PROJECT_URL") or None,
            **optional,
        )


def digest_of(path: Path) -> str:
    """SHA-256 of a file, by which a clip is known again, whatever its name."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
