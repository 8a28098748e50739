"""The page: which parts it has, and which of the handlers each of them calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from .charts import attention_scale, maps_scale
from .checked_blocks import CheckedBlocks
from .handlers import GUIDANCE_CHOICES, NOBODY, Handlers
from .language_model import MAX_FRAMES, MODELS
from .service import AUTOMATIC, Service
from .settings import SpaceSettings
from .video_llms import MAX_OPTIONS_CHARACTERS, MAX_QUESTION_CHARACTERS

_FOLDER = Path(__file__).parent

TITLE = "See what a video model sees"
STYLE = _FOLDER / "style.css"
HEAD = f"<script>{(_FOLDER / 'page.js').read_text(encoding='utf-8')}</script>"

_MAX_CLASSES_CHARACTERS = 10_000  # more than 100 classes of the length that detectors take

_NO_VIDEO_LLM = (
    "No Video-LLM is loaded. Name the folder or Hub id of one in `MODEL_IDS`, beside the other checkpoints: an "
    "image-text-to-text model of `transformers` that takes video, such as one that `train.py` has trained with "
    "`task: video_qa`. It is told apart by its configuration."
)

_GROUP = "work"  # all that computes shares one limit
_API_EXAMPLE = """from gradio_client import Client, handle_file

client = Client("OWNER/SPACE")
result = client.predict(
    video=handle_file("my_video.mp4"), name=%r, other="none", guidance="automatic", api_name="/analyse"
)
result["checkpoints"][0]["labels"]  # {label: probability}, the likeliest first
result["checkpoints"][0]["attention"]  # per picture, the weights of the cells, row-major from the top left
result["checkpoints"][0]["segments"]  # of a segmentation checkpoint: start_s, end_s, label and score of each"""
_OBJECTS_EXAMPLE = """

objects = client.predict(video=handle_file("my_video.mp4"), name=%r, classes=%r, api_name="/objects")
objects["labels"], objects["labels_without_maps"]  # {label: probability}, the likeliest first
objects["channels"][0]["boxes"]  # per frame, x0, y0, x1, y1 in [0, 1] of each object that was found"""
_QUESTIONS_EXAMPLE = """

answer = client.predict(
    video=handle_file("my_video.mp4"), name=%r, question="what is picked up?", options="box\\nbook", api_name="/answer"
)
answer["with_video"]["options"], answer["blind"]["options"]  # {option: probability}, with the clip and without it"""


def build_page(
    service: Service, examples: Sequence[Path], questions: Mapping[Path, Sequence[Mapping[str, Any]]] | None = None
) -> gr.Blocks:
    """The page over a service.

    Args:
        service: Service that carries requests out.
        examples: Paths of clips to start with.
        questions: Path of a clip -> rows of questions about it to start with.
    """
    handlers, names = Handlers(service), list(service.checkpoints)
    settings = service.settings
    kept = (settings.sweep_every_s, settings.clips_kept_s)
    with CheckedBlocks(title=TITLE, analytics_enabled=False, delete_cache=kept) as page:
        gr.Markdown(f"# {TITLE}\nDrop in a clip: what the model answers, where it looked, and where it should have.")
        with gr.Tab("Look"):
            parts = _look(service, names, examples)
        objects = _objects(handlers, examples)
        asked = _questions(service, questions or {})
        with gr.Tab("How it works"):
            gr.Markdown((_FOLDER / "method.md").read_text(encoding="utf-8"))
            gr.HTML((_FOLDER / "method.svg").read_text(encoding="utf-8"), elem_classes="vr-method")
        with gr.Tab("Checkpoints"):
            card_of = gr.Dropdown([*names, *service.video_llms], value=names[0], label="Card and results of")
            card = gr.Markdown(handlers.card(names[0]))
            card_of.change(handlers.card, card_of, card, **_private("cards"))
        with gr.Tab("For programs"):
            _programs(handlers, parts, objects, asked)
        gr.Markdown(_footer(settings))
        _connect(handlers, parts)
        if objects is not None:
            _connect_objects(handlers, objects)
        if asked is not None:
            _connect_questions(handlers, asked)
        if settings.offer_llm:
            _connect_llm(handlers, parts)
    service.kept_uploads = lambda: {path for block in list(page.blocks.values()) for path in block.keep_in_cache}
    return page


def _footer(settings: SpaceSettings) -> str:
    """Links, and what becomes of clips."""
    links = [f"[{name}](https://huggingface.co/{name})" for name in settings.model_ids if not Path(name).exists()]
    links += [f"[code, paper, how to train your own]({settings.project_url})"] if settings.project_url else []
    minutes = settings.clips_kept_s / 60
    return " · ".join([*links, f"Clips are deleted after {minutes:.3g} minutes."])


def _private(group: str) -> dict:
    """Settings of events that programs do not see."""
    return {"api_visibility": "private", "concurrency_id": group, "show_progress": "minimal"}


def _progress(parts: SimpleNamespace) -> dict:
    """Settings of events that take seconds: the bar is where the video will be."""
    return {"show_progress": "full", "show_progress_on": parts.first}


def _look(service: Service, names: list[str], examples: Sequence[Path]) -> SimpleNamespace:
    parts = SimpleNamespace()
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            parts.video = _upload()
            gr.Markdown(service.settings.limits.describe())
            if examples:
                gr.Examples(
                    [[str(path)] for path in examples], parts.video, label="Or an example", examples_per_page=6
                )
            parts.name = gr.Dropdown(names, value=names[0], label="Checkpoint", elem_id="checkpoint")
            others = [NOBODY, *names]
            parts.other = gr.Dropdown(others, value=NOBODY, label="Side by side with", elem_id="other")
            parts.guidance = gr.Radio(GUIDANCE_CHOICES, value=AUTOMATIC, label="Guidance")
            parts.run = gr.Button("Show", variant="primary", elem_id="run")
        with gr.Column(scale=3, min_width=300):
            _results(parts)
            parts.llm_rows, parts.quote = _state(service), _state(service)
            if service.settings.offer_llm:
                _language_model(parts)
    return parts


def _objects(handlers: Handlers, examples: Sequence[Path]) -> SimpleNamespace | None:
    """The tab of object maps; there is none where no checkpoint takes them."""
    names = [name for name, checkpoint in handlers.service.checkpoints.items() if checkpoint.object_model is not None]
    if not names:
        return None
    parts = SimpleNamespace()
    with gr.Tab("Objects", elem_id="objects-tab"):
        gr.Markdown(
            "A detector looks for objects. Where it finds them becomes a map for each class, which an adapter adds to "
            "the frames that the model sees. Change what is looked for, and see what that changes."
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                parts.video = _upload("objects-input")
                gr.Markdown(handlers.service.settings.limits.describe())
                if examples:
                    gr.Examples(
                        [[str(path)] for path in examples], parts.video, label="Or an example", examples_per_page=6
                    )
                parts.name = gr.Dropdown(names, value=names[0], label="Checkpoint", elem_id="objects-checkpoint")
                parts.classes = gr.Textbox(
                    handlers.classes(names[0]),
                    label="What to look for",
                    info="A line for each channel of the checkpoint. An empty line is a map of zeros.",
                    lines=6,
                    max_lines=24,
                    max_length=_MAX_CLASSES_CHARACTERS,
                    elem_id="objects-classes",
                )
                with gr.Row():
                    parts.run = gr.Button("Look for these", variant="primary", elem_id="objects-run")
                    parts.reset = gr.Button("As it learned", elem_id="objects-reset")
            with gr.Column(scale=3, min_width=300):
                parts.status = gr.HTML("", elem_id="objects-status", elem_classes="vr-status")
                parts.bars = gr.HTML("")
                parts.maps = gr.HTML("", elem_id="objects-maps")
                gr.HTML(maps_scale(), elem_id="objects-scale")
                with gr.Accordion("Channel by channel", open=False):
                    parts.table = gr.HTML("")
    return parts


def _questions(service: Service, questions: Mapping[Path, Sequence[Mapping[str, Any]]]) -> SimpleNamespace | None:
    """The tab of questions; without a Video-LLM it says what to give, and there are no parts."""
    names = list(service.video_llms)
    with gr.Tab("Questions", elem_id="questions-tab"):
        if not names:
            gr.Markdown(_NO_VIDEO_LLM, elem_id="questions-none")
            return None
        gr.Markdown(
            "Ask a Video-LLM about a clip. Beside its answer stands what it says without the clip: where the two "
            "agree, the answer says nothing about what it saw."
        )
        with gr.Row():
            parts = _question_inputs(service, names, questions)
            with gr.Column(scale=3, min_width=300):
                parts.status = gr.HTML("", elem_id="questions-status", elem_classes="vr-status")
                parts.said = gr.HTML("")
                parts.evidence = gr.HTML("", elem_id="questions-evidence")
    return parts


def _question_inputs(
    service: Service, names: list[str], questions: Mapping[Path, Sequence[Mapping[str, Any]]]
) -> SimpleNamespace:
    parts = SimpleNamespace()
    with gr.Column(scale=2, min_width=300):
        parts.video = _upload("questions-input")
        gr.Markdown(service.settings.limits.describe())
        parts.name = gr.Dropdown(names, value=names[0], label="Video-LLM", elem_id="questions-model")
        parts.question = gr.Textbox(
            label="Question", lines=2, max_length=MAX_QUESTION_CHARACTERS, elem_id="questions-question"
        )
        parts.options = gr.Textbox(
            label="Options",
            info="A line each. Without any, the model answers in its own words.",
            lines=4,
            max_length=MAX_OPTIONS_CHARACTERS,
            elem_id="questions-options",
        )
        parts.run = gr.Button("Ask", variant="primary", elem_id="questions-run")
        rows = [
            [str(path), row["question"], "\n".join(row["options"])]
            for path, asked in questions.items()
            for row in asked
        ]
        if rows:
            gr.Examples(
                rows,
                [parts.video, parts.question, parts.options],
                label="Or an example, whose answer and evidence are known",
                elem_id="questions-examples",
                examples_per_page=6,
            )
    return parts


def _upload(elem_id: str = "input") -> gr.Video:
    """Where clips come in."""
    # include_audio and no format: otherwise Gradio would hand strangers' files to a system's ffmpeg
    passed_on = {"include_audio": True, "format": None}
    # small pictures are enough, and within the limits; Gradio asks cameras for 1920 x 1440
    camera = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}
    options = gr.WebcamOptions(mirror=False, constraints=camera)
    return gr.Video(
        label="Your clip",
        sources=["upload", "webcam"],
        webcam_options=options,
        elem_id=elem_id,
        height=300,
        **passed_on,
    )


def _state(service: Service) -> gr.State:
    return gr.State(time_to_live=service.settings.clips_kept_s)


def _results(parts: SimpleNamespace) -> None:
    parts.status = gr.HTML("", elem_id="status", elem_classes="vr-status")
    parts.timeline = gr.HTML("", elem_id="timeline", visible=False)
    parts.bars = gr.HTML("")
    with gr.Row():
        parts.strength = gr.Slider(0.1, 1.0, value=0.5, step=0.1, label="Strength of the heat map", elem_id="strength")
        parts.heat_map = gr.Checkbox(True, label="Heat map", elem_id="heat-map", min_width=100)
    with gr.Row(elem_classes="vr-synced"):
        shown = {"interactive": False, "autoplay": True, "loop": True, "min_width": 260, "buttons": ["download"]}
        parts.first = gr.Video(label="Attention", elem_id="attention", **shown)
        parts.second = gr.Video(label="Attention", elem_id="attention-other", visible=False, **shown)
        parts.cells = gr.Video(label="Guidance", elem_id="guidance", **shown)
    gr.HTML(attention_scale(), elem_id="scale")
    with gr.Accordion("Does it look where it should?", open=True):
        parts.agreement = gr.HTML("")
    with gr.Accordion("Beginning, middle and whole", open=True):
        parts.views = gr.HTML("")
    with gr.Accordion("Frame by frame", open=False):
        parts.strip_button = gr.Button("Show single pictures", elem_id="strip-button")
        parts.strip = gr.HTML("")


def _language_model(parts: SimpleNamespace) -> None:
    with gr.Accordion("Guidance from a language model, with your own key", open=False):
        gr.Markdown(
            "Some pictures of the clip are sent to OpenAI, and your key pays. It is used for that one request and "
            "kept nowhere. You see the price first."
        )
        with gr.Row():
            parts.llm = gr.Dropdown(list(MODELS), value=MODELS[0], label="Model", elem_id="llm-model")
            parts.llm_frames = gr.Slider(2, MAX_FRAMES, value=6, step=1, label="Pictures")
        parts.price_button = gr.Button("Show the price", elem_id="price")
        parts.price = gr.HTML("", elem_id="price-text")
        parts.key = gr.Textbox(label="Your OpenAI key", type="password", elem_id="key", max_length=512)
        parts.ask_button = gr.Button("Ask", interactive=False, elem_id="ask")


def _programs(
    handlers: Handlers, parts: SimpleNamespace, objects: SimpleNamespace | None, asked: SimpleNamespace | None
) -> None:
    """The endpoints for programs: one for each tab that a visitor gives a clip to."""
    example = _API_EXAMPLE % parts.name.value
    # label of the button, handler, its inputs, name of the endpoint
    endpoints = [("first", handlers.analyse, [parts.video, parts.name, parts.other, parts.guidance], "analyse")]
    if objects is not None:
        example += _OBJECTS_EXAMPLE % (objects.name.value, objects.classes.value)
        inputs = [objects.video, objects.name, objects.classes]
        endpoints.append(("Objects", handlers.objects_json, inputs, "objects"))
    if asked is not None:
        example += _QUESTIONS_EXAMPLE % asked.name.value
        inputs = [asked.video, asked.name, asked.question, asked.options]
        endpoints.append(("Questions", handlers.answer_json, inputs, "answer"))
    gr.Markdown("All that the page shows, as JSON. In Python, with `gradio_client`:")
    gr.Code(example, language="python", label="Example", interactive=False)
    buttons = [gr.Button(f"Show the JSON of the clip on the {tab} tab") for tab, *_ in endpoints]
    result = gr.JSON(label="Result", elem_id="json")
    for button, (_, handler, inputs, name) in zip(buttons, endpoints, strict=True):
        button.click(handler, inputs, result, api_name=name, concurrency_id=_GROUP)


def _shown_in(parts: SimpleNamespace) -> list:
    """Where everything goes that is shown of a clip, in the order of `Handlers.show`."""
    answers = [parts.status, parts.bars, parts.first, parts.second, parts.cells]
    return [*answers, parts.agreement, parts.views, parts.timeline, parts.strip]


def _connect(handlers: Handlers, parts: SimpleNamespace) -> None:
    settings = [parts.video, parts.name, parts.other, parts.guidance]
    inputs = [*settings, parts.strength, parts.heat_map, parts.llm_rows]
    events = [parts.video.change, parts.name.input, parts.other.input, parts.guidance.input, parts.run.click]
    shown = {"trigger_mode": "always_last", **(_private(_GROUP) | _progress(parts))}
    gr.on(events, handlers.show, inputs, _shown_in(parts), **shown)
    painted = [parts.status, parts.first, parts.second]
    repaints = [parts.strength.release, parts.heat_map.input]
    gr.on(repaints, handlers.repaint, inputs, painted, trigger_mode="always_last", **_private(_GROUP))
    parts.strip_button.click(handlers.strip, [*settings, parts.llm_rows], parts.strip, **_private(_GROUP))


def _connect_objects(handlers: Handlers, parts: SimpleNamespace) -> None:
    inputs = [parts.video, parts.name, parts.classes]
    outputs = [parts.status, parts.bars, parts.maps, parts.table]
    shown = {"trigger_mode": "always_last", **_private(_GROUP)}
    gr.on([parts.video.change, parts.run.click], handlers.objects, inputs, outputs, **shown)
    for event in (parts.name.input, parts.reset.click):
        renewed = event(handlers.classes, parts.name, parts.classes, **_private("cards"))
        renewed.then(handlers.objects, inputs, outputs, **_private(_GROUP))


def _connect_questions(handlers: Handlers, parts: SimpleNamespace) -> None:
    inputs = [parts.video, parts.name, parts.question, parts.options]
    outputs = [parts.status, parts.said, parts.evidence]
    shown = {"trigger_mode": "always_last", **_private(_GROUP)}
    gr.on([parts.run.click, parts.question.submit], handlers.answer, inputs, outputs, **shown)


def _connect_llm(handlers: Handlers, parts: SimpleNamespace) -> None:
    settings = [parts.video, parts.name, parts.other, parts.guidance, parts.strength, parts.heat_map, parts.llm_rows]
    priced = [parts.price, parts.quote, parts.ask_button]
    parts.price_button.click(handlers.price, [parts.video, parts.llm, parts.llm_frames], priced, **_private(_GROUP))
    asked = parts.ask_button.click(
        handlers.ask_llm,
        [parts.video, parts.quote, parts.key],
        [parts.price, parts.llm_rows, parts.key],
        **_private(_GROUP),
    )
    asked.then(handlers.show, settings, _shown_in(parts), **_private(_GROUP) | _progress(parts))
