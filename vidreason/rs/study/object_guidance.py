"""Object guidance for the assembly world, as a vision-language model gives it: names and centres, by way of a server.

A local chat server answers with the world's truth; everything else is the real path: frames are decoded, scaled and
sent, answers are parsed, and centres become cells (see `vidreason.annotation`).
"""

from __future__ import annotations

from pathlib import Path

from ...annotation.grid.run import LLMArguments
from ...annotation.job import AnnotationArguments, AnnotationJob
from ...llm.testing.chat_server import ChatServer
from ...study.design import GuidanceSource
from ...synthetic.world_answers import WorldAnswers

PROMPT = "desktop_assembly"


def write_object_guidance(folder: Path, manifest: Path, split: str, source: GuidanceSource) -> None:
    """Ask about the frames of a split, and write the table.

    Args:
        folder: of the table.
        manifest: folder of the world.
        split: whose videos are asked about.
        source: grid, and frames per second that are asked about.

    Raises:
        VidreasonError: the world is not there, or the answers cannot be used.
    """
    arguments = AnnotationArguments(
        manifest=str(manifest),
        out=str(folder),
        splits=[split],
        grid=list(source.grid),
        frames_per_second=source.frames_per_second,
    )
    with ChatServer(WorldAnswers(manifest, splits=[split])) as server:
        llm = LLMArguments(base_url=server.url, prompt=PROMPT, policy=PROMPT)
        AnnotationJob(arguments, llm).run(progress=False)
