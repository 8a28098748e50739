"""What happens when a visitor does something: from the values of the page's parts to new ones.

Nothing raises here that a visitor could see: what is refused is said in its own words, and anything unexpected goes to
the operator's log and is called a mishap on the page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from html import escape
from textwrap import shorten
from typing import Any

import gradio as gr

from . import language_model
from .answer_pictures import evidence_html, said_html
from .charts import agreement_chart, label_bars, pair_bars, view_bars
from .guidance import LLM, MOTION, PUBLISHED
from .limits import Refused
from .object_pictures import channels_table, maps_html
from .service import AUTOMATIC, MOTION_ONLY, Ask, Service, Shown, ShownAnswer, ShownObjects
from .strip import make_strip, strip_html
from .timeline import timeline_html

logger = logging.getLogger(__name__)

NOBODY = "none"
_SHORT = 80  # characters of an answer in the line of the status
GUIDANCE_CHOICES = [("published, where the clip is known; else movement", AUTOMATIC), ("movement", MOTION_ONLY)]
_GUIDANCE_LABELS = {
    MOTION: "Guidance: movement",
    PUBLISHED: "Guidance: published",
    LLM: "Guidance: language model",
}
MISHAP = "Something went wrong here. It was written down; please try another clip."


class Handlers:
    """The page's reactions.

    Args:
        service: Service that carries requests out.
    """

    def __init__(self, service: Service):
        self.service = service

    def show(self, video, name, other, guidance, strength, heat_map, llm_rows, progress=gr.Progress()):  # noqa: B008
        """Everything that the page shows of a clip: status, bars, three videos, agreement, views, timeline, strip."""
        if not video:
            return self._nothing("")

        def make() -> Shown:
            ask = self._ask(video, name, other, guidance, strength if heat_map else 0.0, llm_rows)
            return self.service.show(ask, lambda share, what: progress(share, desc=what))

        shown, text = self._guarded(make)
        return self._nothing(text) if shown is None else self._everything(shown)

    def repaint(self, video, name, other, guidance, strength, heat_map, llm_rows):
        """The videos with another strength of the heat map; all else comes from the cache."""
        if not video:
            return "", gr.skip(), gr.skip()
        shown, text = self._guarded(
            lambda: self.service.show(self._ask(video, name, other, guidance, strength if heat_map else 0.0, llm_rows))
        )
        if shown is None:
            return text, gr.skip(), gr.skip()
        return _status(shown), *_attention_videos(shown)

    def strip(self, video, name, other, guidance, llm_rows):
        """Single pictures beside one another."""
        if not video:
            return "Please choose a clip first."
        shown, text = self._guarded(lambda: self.service.show(self._ask(video, name, other, guidance, 0.5, llm_rows)))
        if shown is None:
            return text
        answers = [(answer.name, answer.analysis, answer.frames) for answer in shown.answers]
        return strip_html(make_strip(shown.clip, answers, shown.guidance.maps))

    def analyse(self, video, name, other, guidance) -> dict[str, Any]:
        """What the page shows of a clip, as JSON.

        Where the model looks in each picture (`attention`, over `attention_grid`, row-major from the top left), what
        it answers (`labels`, and `views` of the beginning, the middle and the whole; a segmentation checkpoint also
        `segments`), the guidance, and how far the two agree; of an example of several actions its `true_segments` too.
        `other` is a second checkpoint, or "none".
        """
        return self._as_json(video, lambda: self.service.show(self._ask(video, name, other, guidance, 0.5, None)))

    def price(self, video, model, num_frames):
        """What asking a language model costs: text, the quote, and whether it can be asked."""
        if not video:
            return "Please choose a clip first.", None, gr.update(interactive=False)
        make = lambda: language_model.quote(self.service, video, model, int(num_frames))  # noqa: E731
        quote, text = self._guarded(make)
        if quote is None:
            return text, None, gr.update(interactive=False)
        return escape(quote.describe()), quote, gr.update(interactive=True)

    def ask_llm(self, video, quote, api_key):
        """Ask a language model: text, what it said for the session, and an emptied field for the key."""
        if not video:
            return "Please choose a clip first.", None, ""
        said, text = self._guarded(lambda: language_model.ask(self.service, video, quote, api_key or ""))
        if said is None:
            return text, None, ""
        text = f"{said.usable} of {len(said.rows)} pictures have guidance now; it cost ${said.cost_usd:.4f}."
        return escape(text), said, ""

    def card(self, name) -> str:
        """The card of a checkpoint as Markdown."""
        everything = {**self.service.video_llms, **self.service.checkpoints}
        checkpoint = everything.get(name) if isinstance(name, str) else None
        return checkpoint.card if checkpoint and checkpoint.card else "This checkpoint has no card."

    def classes(self, name) -> str:
        """The classes that a checkpoint learned with, a line for each channel of its object maps."""
        checkpoint = self.service.checkpoints.get(name) if isinstance(name, str) else None
        if checkpoint is None or checkpoint.object_model is None:
            return ""
        return "\n".join(checkpoint.object_model.config.class_texts)

    def objects(self, video, name, classes, progress=gr.Progress()):  # noqa: B008
        """What object maps change: status, answers with them and without, pictures, what each channel got."""
        if not video:
            return "", "", "", ""

        shown, text = self._guarded(
            lambda: self._show_objects(video, name, classes, lambda share, what: progress(share, desc=what))
        )
        if shown is None:
            return text, "", "", ""
        answer = shown.answer
        pair = [
            ("With object maps", answer.top(answer.with_maps)),
            ("Without: the frames alone", answer.top(answer.without_maps)),
        ]
        table = channels_table(answer.channels, shown.detector)
        return _objects_status(shown), pair_bars(pair), maps_html(answer, shown.clip), table

    def objects_json(self, video, name, classes) -> dict[str, Any]:
        """What object maps change in the answer of a checkpoint that takes them, as JSON.

        What it answers with the maps (`labels`) and by the frames alone (`labels_without_maps`), and for each of its
        channels the class that it learned, the class that was looked for, and what the detector found in each frame.
        `classes` has a line for each channel; an empty line is a map of zeros.
        """
        return self._as_json(video, lambda: self._show_objects(video, name, classes))

    def _show_objects(self, video, name, classes, *progress: Callable[[float, str], None]) -> ShownObjects:
        if not isinstance(video, str) or not isinstance(name, str) or not isinstance(classes, str):
            raise Refused("wrong_type", "video, name and classes: expected an uploaded file and two texts.")
        return self.service.show_objects(video, name, classes, *progress)

    def answer(self, video, name, question, options, progress=gr.Progress()):  # noqa: B008
        """What a Video-LLM says to a question: status, its answer with the clip and without it, and the evidence."""
        if not video:
            return "Please choose a clip first.", "", ""

        shown, text = self._guarded(
            lambda: self._show_answer(video, name, question, options, lambda share, what: progress(share, desc=what))
        )
        if shown is None:
            return text, "", ""
        return _answer_status(shown, name), said_html(shown), evidence_html(shown)

    def answer_json(self, video, name, question, options) -> dict[str, Any]:
        """What a Video-LLM says to a question about a clip, as JSON.

        What it says with the clip (`with_video`) and to the question alone (`blind`): its words, and of a question
        with options the probability of each. Of a question of an example `known` has the right answer and its
        evidence. `options` are a line each; without any, the model answers in its own words.
        """
        return self._as_json(video, lambda: self._show_answer(video, name, question, options))

    def _show_answer(self, video, name, question, options, *progress: Callable[[float, str], None]) -> ShownAnswer:
        if not all(isinstance(value, str) for value in (video, name, question or "", options or "")):
            raise Refused("wrong_type", "video, name, question and options: expected an uploaded file and texts.")
        return self.service.show_answer(video, name, question or "", options or "", *progress)

    def _as_json(self, video, make: Callable[[], Shown | ShownObjects | ShownAnswer]) -> dict[str, Any]:
        """What a call gives, for programs; what is refused is an error with the words that visitors read."""
        if not video:
            raise gr.Error("Please choose a clip first.", print_exception=False)
        shown, text = self._guarded(make, plain=True)
        if shown is None:
            raise gr.Error(text, print_exception=False)
        return shown.as_json()

    def _ask(self, video, name, other, guidance, strength, llm_rows) -> Ask:
        """What was asked for. Raises `Refused` where a value is of another kind, as only a program's can be."""
        if not isinstance(video, str):
            raise Refused("wrong_type", "video: expected a file that was uploaded here.")
        if not isinstance(name, str) or not isinstance(other, (str, type(None))):
            raise Refused("wrong_type", "name and other: expected the names of checkpoints that are listed.")
        known = [value for _, value in GUIDANCE_CHOICES]
        if guidance is not None and guidance not in known:
            raise Refused("wrong_type", f"guidance: expected one of {', '.join(known)}.")
        if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0 <= strength <= 1:
            raise Refused("wrong_type", "strength: expected a number from 0 to 1.")
        names = [name] if other in (None, NOBODY, name) else [name, other]
        rows = {"llm_rows": llm_rows.rows, "llm_digest": llm_rows.digest} if llm_rows else {}
        return Ask(video, tuple(names), guidance or AUTOMATIC, float(strength), **rows)

    def _guarded(self, make: Callable[[], Any], plain: bool = False) -> tuple[Any, str]:
        """What a call gives and no text, or nothing and what to tell the visitor."""
        try:
            return make(), ""
        except Refused as refused:
            text = refused.text
        except Exception as error:
            # the words of an unexpected error could name files or values: they stay in the operator's log
            logger.error("a request failed", exc_info=error)
            text = MISHAP
        return None, text if plain else f'<p role="alert">{escape(text)}</p>'

    def _nothing(self, text: str) -> tuple:
        hidden = gr.update(value=None, visible=False)
        return text, "", gr.update(value=None), hidden, gr.update(value=None), "", "", _timeline(""), ""

    def _everything(self, shown: Shown) -> tuple:
        named = [(answer.name, answer.analysis) for answer in shown.answers]
        series = [(answer.name, answer.frames, answer.summary) for answer in shown.answers]
        return (
            _status(shown),
            label_bars(named),
            *_attention_videos(shown),
            gr.update(value=str(shown.guidance_video), label=_GUIDANCE_LABELS[shown.guidance.kind]),
            agreement_chart(series, shown.clip.shown_times_s, shown.guidance.source),
            view_bars(named),
            _timeline(timeline_html(named, shown.clip.facts.duration_s, shown.true_segments)),
            "",  # the strip is of another clip now
        )


def _attention_videos(shown: Shown) -> tuple:
    """Updates of the two places for videos with attention."""
    updates = [
        gr.update(value=str(answer.video), label=f"Attention of {answer.name}", visible=True)
        for answer in shown.answers
    ]
    return tuple(updates) if len(updates) == 2 else (updates[0], gr.update(value=None, visible=False))


def _timeline(html: str) -> dict[str, Any]:
    """An update of the timeline's place, which is there only where there is a timeline."""
    return gr.update(value=html, visible=bool(html))


def _status(shown: Shown) -> str:
    facts, analysis = shown.clip.facts, shown.answers[0].analysis
    name, (label, share) = shown.answers[0].name, analysis.top(1)[0]
    says, of_what = "says", ""
    if analysis.segments is not None:
        count = len(analysis.segments)
        says, of_what = f"finds {count} segment{'s' if count > 1 else ''}, most of all", " of the time"
    return (
        f'<p role="status">{escape(name)} {says} <strong data-testid="label">{escape(label)}</strong> '
        f"({100 * share:.0f} %{of_what}). {facts.width} x {facts.height} pixels, {facts.duration_s:.1f} s, "
        f"answered in {shown.seconds['total']:.1f} s.{_replaced(shown.clip.num_replaced)}{_without_maps(shown)}</p>"
    )


def _without_maps(shown: Shown) -> str:
    """Says of checkpoints that learned with object maps that they were shown none here."""
    names = [answer.name for answer in shown.answers if answer.takes_maps]
    return (
        f" No object maps are shown here to {escape(' and '.join(names))}; the tab Objects has them." if names else ""
    )


def _objects_status(shown: ShownObjects) -> str:
    answer = shown.answer
    (label, share), (bare, bare_share) = (answer.top(s, 1)[0] for s in (answer.with_maps, answer.without_maps))
    found = sum(channel.frames_with > 0 for channel in answer.channels)
    note = f" {shown.note}" if shown.note else ""
    return (
        f'<p role="status">With object maps: <strong data-testid="objects-label">{escape(label)}</strong> '
        f"({100 * share:.0f} %). Without: <strong>{escape(bare)}</strong> ({100 * bare_share:.0f} %). "
        f"{found} of {len(answer.channels)} channels show something, by the detector {escape(shown.detector)}; "
        f"answered in {shown.seconds:.1f} s.{escape(note)}{_replaced(shown.clip.num_replaced)}</p>"
    )


def _answer_status(shown: ShownAnswer, name: str) -> str:
    said = shown.answer.with_video
    right = ""
    if shown.known is not None:
        right = f" Of this example the answer is known: {escape(shown.known['answer'])}."
    text = escape(shorten(said.text, _SHORT, placeholder=" …")) if said.text else "nothing"  # all of it is below
    return (
        f'<p role="status">{escape(name)} answers <strong data-testid="answer">{text}</strong>.{right} It was shown '
        f"{len(shown.answer.shown)} frames; answered in {shown.seconds:.1f} s.{_replaced(shown.clip.num_replaced)}</p>"
    )


def _replaced(count: int) -> str:
    """What is said of frames that do not decode; nothing where all do."""
    if not count:
        return ""
    frames = "1 frame of the clip is" if count == 1 else f"{count} frames of the clip are"
    return f" {frames} damaged; the next one that is not stands in."
