"""The Gradio Space: see what a video model sees.

    MODEL_IDS=release/rs_evidence,release/plain python space_app/app.py

It only wires; what is computed and drawn is in `clipview` beside it. `docs/space.md` lists the settings.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator

import gradio as gr
import torch
from clipview.checkpoints import SEGMENTATION, load_checkpoints
from clipview.examples import build_examples
from clipview.guidance import KnownClips, load_tables
from clipview.page import HEAD, STYLE, build_page
from clipview.service import Service
from clipview.settings import SpaceSettings
from clipview.video_llms import is_video_llm, load_video_llms
from starlette.requests import ClientDisconnect

from vidreason.errors import ConfigError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def build(settings: SpaceSettings, closing: contextlib.ExitStack) -> gr.Blocks:
    """The page with the service behind it; models are loaded and examples rendered here.

    Args:
        settings: Settings of the operator.
        closing: Is given what must be closed at the end.

    Raises:
        VidreasonError: A checkpoint or a table cannot be used.
    """
    video_llm_ids = [model_id for model_id in settings.model_ids if is_video_llm(model_id)]
    others = [model_id for model_id in settings.model_ids if model_id not in video_llm_ids]
    if not others:
        raise ConfigError("MODEL_IDS names Video-LLMs alone: name a model that classifies clips or segments too")
    checkpoints = load_checkpoints(others, settings.remote_code_ids)
    video_llms = load_video_llms(video_llm_ids, settings.question_prompt)
    segments = any(checkpoint.task == SEGMENTATION for checkpoint in checkpoints.values())
    examples = build_examples(settings.examples_folder, assembly=segments, questions=bool(video_llms))
    known = KnownClips({**examples.tables, **load_tables(settings.guidance_ids)})
    service = Service(settings, checkpoints, known, examples.truth, examples.worlds, video_llms, examples.questions)
    closing.callback(service.close)
    service.reader.warm_up()
    models = [checkpoint.object_model for checkpoint in checkpoints.values()]
    service.detectors.prepare([model.config for model in models if model is not None])
    # Gradio reads it when the page is made: its uploads lie where nobody else's do, and go when the service closes
    os.environ["GRADIO_TEMP_DIR"] = str(service.scratch.uploads)
    return build_page(service, examples.clips, examples.questions)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what is inside as Ctrl-C does, so that all is closed; twice changes nothing."""

    def interrupt(number: int, frame: object) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # what is being deleted is deleted whole
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in _SIGNALS}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a record of the server is more than that a visitor has left in the middle of an upload."""
    return not (record.exc_info and isinstance(record.exc_info[1], ClientDisconnect))


def main() -> None:
    """Serve until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = SpaceSettings.from_environment(os.environ)
    limits = settings.limits
    # one thread for each of the requests that are worked on at the same time; the models are small
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // limits.max_at_once))
    logging.getLogger("uvicorn.error").addFilter(is_worth_a_line)
    with ended_by_signals(), contextlib.ExitStack() as closing:
        page = build(settings, closing)
        page.queue(max_size=limits.max_queue, default_concurrency_limit=limits.max_at_once)
        closing.callback(page.close)  # before the service: nothing comes in any more
        page.launch(
            css_paths=[STYLE],
            head=HEAD,
            max_file_size=limits.max_bytes,
            allowed_paths=[str(settings.examples_folder.resolve())],
            run_history=False,  # it would keep visitors' clips in their browsers, and what they typed
            show_error=False,
            ssr_mode=False,
            footer_links=["api", "gradio", "settings"],
            prevent_thread_lock=True,  # Gradio's own waiting ends at Ctrl-C alone
        )
        threading.Event().wait()


if __name__ == "__main__":
    main()
