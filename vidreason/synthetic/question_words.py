"""The words of questions about the worlds: how a thing is named, what a hand does with it, what a step found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..scenegraph.graph import Edge, Node, SceneGraph
from ..scenegraph.programs import Execution, Step

ACTION_WORDS: dict[str, tuple[str, str]] = {
    "tap": ("tap {}", "taps {}"),
    "pick up": ("pick up {}", "picks up {}"),
    "put down": ("put down {}", "puts down {}"),
    "shake": ("shake {}", "shakes {}"),
    "slide left": ("slide {} to the left", "slides {} to the left"),
    "slide right": ("slide {} to the right", "slides {} to the right"),
    "put in": ("put {} in the box", "puts {} in the box"),
    "take out": ("take {} out of the box", "takes {} out of the box"),
    "open box": ("open the box", "opens the box"),
    "close box": ("close the box", "closes the box"),
    "stir": ("stir in the bowl", "stirs in the bowl"),
    "wave": ("wave", "waves"),
    "take board": ("take the board", "takes the board"),
    "place chip": ("place a chip", "places a chip"),
    "insert card": ("insert a card", "inserts a card"),
    "screw": ("drive in screws", "drives in screws"),
    "unscrew": ("take out screws", "takes out screws"),
    "plug cable": ("plug in the cable", "plugs in the cable"),
    "unplug cable": ("unplug the cable", "unplugs the cable"),
    "press switch": ("press the switch", "presses the switch"),
    "apply tape": ("apply tape", "applies tape"),
    "wipe": ("wipe the board", "wipes the board"),
    "turn over": ("turn over the board", "turns over the board"),
    "attach cover": ("attach a cover", "attaches a cover"),
    "test meter": ("test with the meter", "tests with the meter"),
    "put away": ("put away the board", "puts away the board"),
}
"""Name of an action -> what the hand can do and does, with a place for the thing where a thing is told apart by it."""


def takes_thing(action: str) -> bool:
    """Whether the words of an action have a place for a thing."""
    return "{}" in ACTION_WORDS[action][1]


class Reference(NamedTuple):
    """A way to name one thing of a graph.

    Args:
        text: "the red ball", which no other thing of the graph is.
        steps: Steps that find it, the first of which takes no input; each of the others works on the one before.
        says: Types of attribute that the words tell, "name" among them: none of them is asked of it.
    """

    text: str
    steps: tuple[Step, ...]
    says: tuple[str, ...]


THINGS: tuple[Step, ...] = ({"op": "objects"}, {"op": "filter", "attribute": "color"})
"""All that has a color: the things on the tabletop, and neither the person nor the hand."""


def references(graph: SceneGraph, node: Node) -> list[Reference]:
    """All ways to name a thing of the graph that mean nothing else in it, the shortest first."""
    color, size = (dict(node.attributes).get(kind, "") for kind in ("color", "size"))
    forms: list[tuple[str, ...]] = [("name",)]
    if color:
        forms += [("color",), ("color", "name")]
    if size:
        forms += [("size", "name"), ("size", "color", "name")]
    parts = {"name": node.name, "color": color, "size": size}
    return [_reference(parts, says) for says in forms if _count_like(graph, {kind: parts[kind] for kind in says}) == 1]


def _reference(parts: dict[str, str], says: tuple[str, ...]) -> Reference:
    words = [parts[kind] for kind in says] + ([] if "name" in says else ["thing"])
    return Reference(f"the {' '.join(words)}", find_steps({kind: parts[kind] for kind in says}), says)


def find_steps(parts: dict[str, str]) -> tuple[Step, ...]:
    """Steps that find all things with a name and attributes."""
    filters = [
        {"op": "filter", "name": value} if kind == "name" else {"op": "filter", "attribute": kind, "value": value}
        for kind, value in parts.items()
    ]
    return ({"op": "objects"}, *filters)


def _count_like(graph: SceneGraph, parts: dict[str, str]) -> int:
    return sum(
        all(
            node.name == value if kind == "name" else (kind, value) in node.attributes for kind, value in parts.items()
        )
        for node in graph.nodes
        if node.kind == "object"
    )


def full_name(node: Node) -> str:
    """All that tells a thing from others: "the large red ball"."""
    values = dict(node.attributes)
    return " ".join(filter(None, ("the", values.get("size"), values.get("color"), node.name)))


def participant(graph: SceneGraph, event: Node, predicate: str = "undergoes") -> Node | None:
    """The one thing that an event is done with; None where it is none, or several are."""
    found = [edge.subject for edge in event_edges(graph, event) if edge.predicate == predicate]
    return graph.node(found[0]) if len(found) == 1 else None


def event_edges(graph: SceneGraph, event: Node) -> Iterator[Edge]:
    """The edges from all that take part in an event."""
    return (edge for edge in graph.edges if edge.kind == "event" and edge.object == event.node_id)


def event_text(graph: SceneGraph, event: Node) -> str:
    """An event as a clause: "the hand taps the red ball"."""
    words = ACTION_WORDS[event.name][1]
    thing = participant(graph, event)
    return f"the hand {words.format(full_name(thing) if thing else 'something')}"


def rationale_text(graph: SceneGraph, program: Sequence[Step], execution: Execution) -> str:
    """The executed steps in words, which end with the answer. They can say nothing that the program did not find."""
    said: list[str] = []
    for index in range(len(program)):
        # once: "first the hand taps the ball" says that it taps it
        said += [clause for clause in _clauses(graph, program, execution, index) if not _is_said(clause, said)]
    return " ".join([*(f"{clause}." for clause in said), f"so the answer is {execution.answer_text}."])


def _is_said(clause: str, said: Sequence[str]) -> bool:
    return any(earlier.endswith(clause) for earlier in said)


_ORDER_WORDS = {"first": "first ", "last": "last ", "next": "right after that ", "previous": "right before that "}


def is_narrowed(program: Sequence[Step], index: int) -> bool:
    """Whether what a step found is only that among which a later step chooses: it is no evidence of itself.

    So is what a filter chooses from, and the second input of `both`, "all that is left of the mug"; the first is what
    is asked about.
    """
    return any(
        (later["op"] == "filter" and later["inputs"] == [index])
        or (later["op"] == "both" and later["inputs"][1] == index)
        for later in program
    )


def _clauses(graph: SceneGraph, program: Sequence[Step], execution: Execution, index: int) -> Iterator[str]:
    """What one step found."""
    step, value = program[index], execution.values[index]
    places = step.get("inputs", [])
    inputs = [execution.values[place] for place in places]
    related = program[places[-1]] if places and program[places[-1]]["op"] == "relate" else None
    if step["op"] == "relate" and not is_narrowed(program, index):
        yield from _relation_clauses(graph, step, inputs[0], value)
    elif step["op"] in ("filter", "both") and related is not None:
        known = execution.values[related["inputs"][0]]
        yield from _relation_clauses(graph, related, known, value)
        if step["op"] == "both" and not value:
            yield from _relation_clauses(graph, related, known, inputs[0], "is not")
    elif step["op"] in _ORDER_WORDS and isinstance(value, tuple):
        yield from (_ORDER_WORDS[step["op"]] + event_text(graph, graph.node(node_id)) for node_id in value)
    elif step["op"] == "query" and isinstance(inputs[0], tuple):
        node, attribute = graph.node(inputs[0][0]), step.get("attribute", "name")
        if node.kind == "object":
            yield f"there is {full_name(node)}" if attribute == "name" else f"{full_name(node)} is {value}"
    elif step["op"] in ("exist", "count") and isinstance(inputs[0], tuple):
        if program[places[0]]["op"] != "both":  # what holds of both was said when it was found
            yield from [_any_text(graph, node_id) for node_id in inputs[0]] or ["there is no such thing"]
    elif step["op"] == "precedes":
        yield f"the first of these comes {'before' if value else 'after'} the second"


def _relation_clauses(graph: SceneGraph, step: Step, inputs: object, value: object, verb: str = "is") -> Iterator[str]:
    if not (isinstance(inputs, tuple) and isinstance(value, tuple)):
        return
    node = graph.node(inputs[0])
    for other in (graph.node(node_id) for node_id in value):
        event = next((each for each in (node, other) if each.kind == "event"), None)
        if event is not None:
            yield event_text(graph, event)
            continue
        subject, target = (other, node) if step.get("find", "subject") == "subject" else (node, other)
        yield f"{full_name(subject)} {verb} {step['predicate']} {full_name(target)}"


def _any_text(graph: SceneGraph, node_id: str) -> str:
    node = graph.node(node_id)
    return f"there is {full_name(node)}" if node.kind == "object" else event_text(graph, node)
