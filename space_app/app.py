"""The Gradio Space: see what a video model sees.

    MODEL_IDS=release/rs_evidence,release/plain python space_app/app.py

It only wires; what is computed and drawn is in `clipview` beside it. `docs/space.md` lists the settings.
"""

from __future__ import annotations

import logging
import os

import gradio as gr
import torch
from clipview.checkpoints import SEGMENTATION, load_checkpoints
from clipview.examples import build_examples
from clipview.guidance import KnownClips, load_tables
from clipview.page import HEAD, STYLE, build_page
from clipview.service import Service
from clipview.settings import SpaceSettings


def build(settings: SpaceSettings) -> tuple[gr.Blocks, Service]:
    """The page and the service behind it; models are loaded and examples rendered here.

    Raises:
        VidreasonError: A checkpoint or a table cannot be used.
    """
    checkpoints = load_checkpoints(settings.model_ids, settings.remote_code_ids)
    segments = any(checkpoint.task == SEGMENTATION for checkpoint in checkpoints.values())
    examples = build_examples(settings.examples_folder, assembly=segments)
    known = KnownClips({**examples.tables, **load_tables(settings.guidance_ids)})
    service = Service(settings, checkpoints, known, examples.truth)
    service.reader.warm_up()
    return build_page(service, examples.clips), service


def main() -> None:
    """Serve until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = SpaceSettings.from_environment(os.environ)
    limits = settings.limits
    # one thread for each of the requests that are worked on at the same time; the models are small
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // limits.max_at_once))
    page, service = build(settings)
    page.queue(max_size=limits.max_queue, default_concurrency_limit=limits.max_at_once)
    try:
        page.launch(
            css_paths=[STYLE],
            head=HEAD,
            max_file_size=limits.max_bytes,
            allowed_paths=[str(settings.examples_folder.resolve())],
            run_history=False,  # it would keep visitors' clips in their browsers, and what they typed
            show_error=False,
            ssr_mode=False,
            footer_links=["api", "gradio", "settings"],
        )
    finally:
        service.close()


if __name__ == "__main__":
    main()
