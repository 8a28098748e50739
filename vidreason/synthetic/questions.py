"""Questions about a world, made from its true graphs: answered by executing a program, balanced, the same each time.

A question whose program finds nothing, or several things where one is meant, is not asked (the counts say how many);
what is asked has its answer, the evidence and the reasons in words from the one execution that gave the answer.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import ConfigError, UnanswerableProgram
from ..scenegraph.graph import Node, SceneGraph, TrackPoint
from ..scenegraph.programs import Execution, Step, count_steps, execute, program_text, read_program
from ..videoqa.rows import question_row
from .question_templates import TEMPLATES
from .question_words import ACTION_WORDS, event_text, full_name, is_narrowed, rationale_text

QUESTION_MAKER_VERSION = "1.0"
"""Goes up whenever the same graphs and settings give other questions than before."""

DESCRIPTIONS = ("describe_things", "describe_actions")
"""Types of the rows that ask for all that is there, and for all that is done."""


@dataclass(frozen=True)
class QuestionSettings:
    """Which questions are made.

    Raises:
        ConfigError: A setting that no questions can be made with.
    """

    seed: int = field(default=0, metadata={"help": "Seed of the choice among all questions that can be asked."})
    questions_per_video: float = field(
        default=8.0, metadata={"help": "Questions to ask on average; types that cannot give their part give fewer."}
    )
    proposals_per_type: int = field(
        default=8, metadata={"help": "Questions of a type that are tried on a graph before they are balanced."}
    )
    types: list[str] = field(
        default_factory=lambda: [*TEMPLATES, *DESCRIPTIONS],
        metadata={"help": "Types of questions to ask and of descriptions to give; all by default."},
    )
    choice_share: float = field(
        default=0.0, metadata={"help": "Share of the open questions that are asked with four options, 0 to 1."}
    )

    def __post_init__(self):
        if not (math.isfinite(self.questions_per_video) and self.questions_per_video > 0):
            raise ConfigError(f"questions_per_video is {self.questions_per_video}, expected a positive number")
        if not self.types or set(self.types) - {*TEMPLATES, *DESCRIPTIONS}:
            raise ConfigError(f"types are {self.types}, expected some of {[*TEMPLATES, *DESCRIPTIONS]}")
        if self.proposals_per_type < 1:
            raise ConfigError(f"proposals_per_type is {self.proposals_per_type}, expected at least 1")
        if not 0 <= self.choice_share <= 1:
            raise ConfigError(f"choice_share is {self.choice_share}, expected a share")


@dataclass(frozen=True)
class MadeQuestions:
    """The questions of a split, and what became of all that were proposed.

    Args:
        rows: Rows of `vidreason.videoqa.schema.QUESTION_FEATURES`.
        counts: "asked", "nothing" and "several" (no answer, for this reason), "balance" (left out so that no answer
            is more common than it must be); together all proposals that were tried.
    """

    rows: list[dict[str, Any]]
    counts: Counter[str]


class _Tried(NamedTuple):
    """A question that has an answer, in as few bytes as it takes to make it again."""

    draw: str  # pseudo-random by the question's own id, so that the choice hangs on no order
    question_id: str
    graph_id: str
    kind: str
    text: str
    program: str
    answer_format: str
    answer: str


def world_questions(graphs: Iterable[SceneGraph], settings: QuestionSettings | None = None) -> MadeQuestions:
    """Make the questions of one split.

    The same graphs and settings give the same bytes, whatever the hash seed of Python. Of each type, answers are as
    even as the questions that can be asked allow: no answer is asked for more than is needed for the type's part.

    Args:
        graphs: Graphs of the split, as from `vidreason.synthetic.graphs.world_graphs`; gone through twice.
        settings: Which questions are made.
    """
    settings = settings or QuestionSettings()
    counts: Counter[str] = Counter()
    by_type: dict[str, list[_Tried]] = defaultdict(list)
    num_videos = 0
    for graph in graphs:
        num_videos += 1
        for kind, tried in _try_all(graph, settings, counts):
            by_type[kind].append(tried)
    chosen = _choose(by_type, num_videos * settings.questions_per_video)
    counts["asked"] = len(chosen)
    counts["balance"] = sum(map(len, by_type.values())) - len(chosen)
    answers: dict[str, set[str]] = defaultdict(set)
    for tried in (tried for found in by_type.values() for tried in found):
        answers[_asks_for(tried)].add(tried.answer)
    return MadeQuestions(_rows(graphs, chosen, answers, settings), counts)


def _asks_for(tried: _Tried) -> str:
    """What wrong options are drawn among: a color for a color, an action for an action."""
    return f"{tried.kind} {read_program(tried.program)[-1].get('attribute', '')}"


def _try_all(graph: SceneGraph, settings: QuestionSettings, counts: Counter[str]) -> Iterator[tuple[str, _Tried]]:
    """The questions about a graph that have an answer, some of each type; the others are counted."""
    for kind in (kind for kind in TEMPLATES if kind in settings.types):
        proposals = {f"{graph.graph_id}/{kind}/{proposal.text}": proposal for proposal in TEMPLATES[kind](graph)}
        drawn = sorted((_draw(settings.seed, question_id), question_id) for question_id in proposals)
        for draw, question_id in drawn[: settings.proposals_per_type]:
            proposal = proposals[question_id]
            try:
                answer = execute(graph, proposal.program).answer_text
            except UnanswerableProgram as error:
                counts[error.reason] += 1
                continue
            program = program_text(proposal.program)
            yield (
                kind,
                _Tried(
                    draw, question_id, graph.graph_id, kind, proposal.text, program, proposal.answer_format, answer
                ),
            )


def _draw(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def _choose(by_type: Mapping[str, Sequence[_Tried]], wanted: float) -> list[_Tried]:
    """Some of each type: an even part of what is wanted, in which answers are as even as they can be."""
    chosen: list[_Tried] = []
    # types with few questions first, so that what they cannot give goes to the others
    kinds = sorted(by_type, key=lambda kind: (len(by_type[kind]), kind))
    for place, kind in enumerate(kinds):
        part = round((wanted - len(chosen)) / (len(kinds) - place))
        chosen += _even(by_type[kind], part)
    return chosen


def _even(found: Sequence[_Tried], part: int) -> list[_Tried]:
    """At most `part` questions, no answer more often than the lowest cap that gives as many allows."""
    by_answer: dict[str, list[_Tried]] = defaultdict(list)
    for tried in sorted(found):
        by_answer[tried.answer].append(tried)
    sizes = [len(same) for same in by_answer.values()]
    cap = max(1, part // max(1, len(sizes)))
    while sum(min(cap, size) for size in sizes) < part and cap < max(sizes):
        # an answer that most questions have may be asked for at most twice as often as its even part
        if cap >= 2 * max(1, part // len(sizes)):
            break
        cap += 1
    kept = sorted(tried for same in by_answer.values() for tried in same[:cap])
    return kept[:part]


def _rows(
    graphs: Iterable[SceneGraph],
    chosen: Sequence[_Tried],
    answers: Mapping[str, Iterable[str]],
    settings: QuestionSettings,
) -> list[dict[str, Any]]:
    by_graph: dict[str, list[_Tried]] = defaultdict(list)
    for tried in chosen:
        by_graph[tried.graph_id].append(tried)
    rows = []
    for graph in graphs:
        for tried in sorted(by_graph.get(graph.graph_id, ()), key=lambda tried: tried.question_id):
            rows.append(_row(graph, tried, answers[_asks_for(tried)], settings))
    return rows


def _row(graph: SceneGraph, tried: _Tried, answers: Iterable[str], settings: QuestionSettings) -> dict[str, Any]:
    program = read_program(tried.program)
    execution = execute(graph, program)
    spans = evidence_spans(graph, program, execution)
    fields: dict[str, Any] = {
        "question_id": tried.question_id,
        "source": graph.source,
        "split": graph.split,
        "video_id": graph.video_id,
        "question": tried.text,
        "answer": tried.answer,
        "answer_format": tried.answer_format,
        "question_type": tried.kind,
        "num_steps": count_steps(program),
        "program": tried.program,
        "rationale": rationale_text(graph, program, execution),
        "graph_id": graph.graph_id,
        "evidence_spans": [{"start_s": start, "end_s": end} for start, end in spans],
        "evidence_boxes": evidence_boxes(graph, program, execution, spans),
        "producer": "program",
        "model": f"vidreason.synthetic.questions@{QUESTION_MAKER_VERSION}",
    }
    options = _options(tried, answers, settings)
    return question_row(**{**fields, "answer_format": "choice", "options": options} if options else fields)


def _options(tried: _Tried, answers: Iterable[str], settings: QuestionSettings) -> list[str]:
    """Four answers of the type, the right one among them at a drawn place; none where it is asked openly."""
    draw = int(_draw(settings.seed, f"options of {tried.question_id}"), 16)
    if tried.answer_format != "open" or draw % 10_000 >= settings.choice_share * 10_000:
        return []
    wrong = sorted((answer for answer in answers if answer != tried.answer), key=lambda answer: _draw(draw, answer))[
        :3
    ]
    if len(wrong) < 3:
        return []
    place = draw // 10_000 % 4
    return [*wrong[:place], tried.answer, *wrong[place:]]


def world_descriptions(graphs: Iterable[SceneGraph], types: Sequence[str] = DESCRIPTIONS) -> Iterator[dict[str, Any]]:
    """Rows that ask for all that is there and all that is done, up to two a video, for training.

    One word of a question's answer says little of a video. A description says as much as its graph does, and a model
    that starts from nothing learns to see from these far sooner. They have no program and no steps.

    Args:
        graphs: Graphs of a split.
        types: Which of `DESCRIPTIONS` to give; others are passed over.
    """
    for graph in graphs:
        things = [node for node in graph.nodes if node.track and dict(node.attributes).get("color")]
        events = [node for node in graph.nodes if node.kind == "event" and node.name in ACTION_WORDS]
        start_s = min((node.track[0].timestamp_s for node in things), default=0.0)
        # from left to right, and where two are above each other from above
        things.sort(key=lambda node: _place(node.track[0]))
        moment = (start_s, start_s + 2 / graph.frames_per_second)  # before anything is moved
        if things and "describe_things" in types:
            text = ", ".join(full_name(node) for node in things)
            yield _description(graph, "describe_things", "what is on the table?", text, moment)
        if events and "describe_actions" in types:
            text = ", then ".join(event_text(graph, node) for node in events)
            yield _description(graph, "describe_actions", "what happens?", text, None)


def _place(point: TrackPoint) -> tuple[int, float]:
    """Third of the frame's width that a box's middle is in, and the middle's height."""
    x0, y0, x1, y1 = point.box
    return int((x0 + x1) / 2 * 3), y0 + y1


def _description(
    graph: SceneGraph, kind: str, question: str, answer: str, moment: tuple[float, float] | None
) -> dict[str, Any]:
    start_s, end_s = moment or (None, None)
    return question_row(
        question_id=f"{graph.graph_id}/{kind}",
        source=graph.source,
        split=graph.split,
        video_id=graph.video_id,
        start_s=start_s,
        end_s=end_s,
        question=question,
        answer=answer,
        answer_format="caption",
        question_type=kind,
        graph_id=graph.graph_id,
        producer="program",
        model=f"vidreason.synthetic.questions@{QUESTION_MAKER_VERSION}",
    )


def evidence_spans(graph: SceneGraph, program: Sequence[Step], execution: Execution) -> list[tuple[float, float]]:
    """When what the answer rests on is seen, in seconds.

    The events and relations that were found, and the first or last frame where a step looked at that; joined where
    they overlap. The whole video where no step looked at a time, as of a color that can always be seen.
    """
    times = sorted({point.timestamp_s for node in graph.nodes for point in node.track})
    frame_s = 1 / graph.frames_per_second
    moments = {"start": times[:1], "end": times[-1:]}
    found = {span for index, spans in enumerate(execution.spans) if not is_narrowed(program, index) for span in spans}
    found |= {(time_s, time_s + frame_s) for step in program for time_s in moments.get(step.get("when", ""), ())}
    events = (node for node in _evidence_nodes(graph, program, execution) if node.kind == "event")
    found |= {(node.start_s, node.end_s) for node in events if node.start_s is not None and node.end_s is not None}
    if not found and times:
        found = {(times[0], graph.num_frames * frame_s)}
    joined: list[tuple[float, float]] = []
    for start, end in sorted(found):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _evidence_nodes(graph: SceneGraph, program: Sequence[Step], execution: Execution) -> list[Node]:
    """The things and events that the steps went over, without those among which they only chose."""
    found: dict[str, Node] = {}
    for index, (step, value) in enumerate(zip(program, execution.values, strict=True)):
        consumers = {later["op"] for later in program if index in later.get("inputs", ())}
        is_all = step["op"] in ("objects", "events") and not consumers & {"count", "exist"}
        if isinstance(value, tuple) and not is_all and not is_narrowed(program, index):
            found |= {node_id: graph.node(node_id) for node_id in value}
    return list(found.values())


def evidence_boxes(
    graph: SceneGraph, program: Sequence[Step], execution: Execution, spans: Sequence[tuple[float, float]]
) -> list[dict[str, Any]]:
    """Where the things that the steps went over are, in the frame in the middle of each span."""
    nodes = {node.node_id: node for node in _evidence_nodes(graph, program, execution)}
    for edge in graph.edges:
        if edge.kind == "event" and edge.predicate == "undergoes" and edge.object in nodes:
            nodes.setdefault(edge.subject, graph.node(edge.subject))
    boxes = []
    for start, end in spans:
        for node in (node for node in nodes.values() if node.kind == "object"):
            point = _nearest(node, (start + end) / 2, start, end)
            if point is not None:
                boxes.append(
                    {
                        "node_id": node.node_id,
                        "name": node.name,
                        "frame_index": point.frame_index,
                        "timestamp_s": point.timestamp_s,
                        "box": list(point.box),
                    }
                )
    return boxes


def _nearest(node: Node, time_s: float, start_s: float, end_s: float) -> TrackPoint | None:
    inside = [point for point in node.track if start_s <= point.timestamp_s < end_s]
    return min(inside, key=lambda point: abs(point.timestamp_s - time_s), default=None)


def blind_prior(
    rows: Iterable[Mapping[str, Any]], known: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, int], tuple[int, int]]:
    """How often guessing without the video is right: the answer that the same question most often had elsewhere.

    A question that was never asked there is guessed by its type.

    Args:
        rows: Questions to guess, as of a test split.
        known: Questions whose answers the guess may know, as of the training split.

    Returns:
        (question type, number of steps) -> (right guesses, questions).
    """
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for row in known:
        # two keys that no question can have at once: a type is a name without a space
        seen[row["question"]][row["answer"]] += 1
        seen[row["question_type"]][row["answer"]] += 1
    result: dict[tuple[str, int], tuple[int, int]] = {}
    for row in rows:
        counts = seen.get(row["question"]) or seen.get(row["question_type"]) or Counter({"": 1})
        guess = min(counts, key=lambda answer: (-counts[answer], answer))
        right, total = result.get((row["question_type"], row["num_steps"]), (0, 0))
        result[row["question_type"], row["num_steps"]] = right + (guess == row["answer"]), total + 1
    return result
