"""Questions of 1, 2, 3 and more steps about a graph of a world, by templates: each a text with its program.

A template proposes; whether its program has one answer on the graph is for the executor to say.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..scenegraph.graph import Node, SceneGraph
from ..scenegraph.programs import Step
from .question_words import ACTION_WORDS, THINGS, Reference, find_steps, participant, references, takes_thing


class Proposal(NamedTuple):
    """A question that may have an answer.

    Args:
        text: The question, in lower case.
        program: Its program.
        answer_format: One of `vidreason.videoqa.schema.ANSWER_FORMATS`.
    """

    text: str
    program: tuple[Step, ...]
    answer_format: str = "open"


class Program:
    """Joins steps to a program; each step is given the numbers of those that it works on."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, op: str, *inputs: int, **arguments: str) -> int:
        """Add a step and give its number."""
        self.steps.append({"op": op, "inputs": list(inputs), **arguments})
        return len(self.steps) - 1

    def chain(self, steps: Sequence[Step]) -> int:
        """Add steps, each of which works on the one before, and give the number of the last."""
        place = -1
        for step in steps:
            arguments = {key: value for key, value in step.items() if key != "op"}
            place = self.add(step["op"], *([] if place < 0 else [place]), **arguments)
        return place

    def events_with(self, place: int, action: str = "") -> int:
        """The events that a thing undergoes; of one action where it is given."""
        found = self.add("relate", place, predicate="undergoes", find="object", kind="event")
        return self.add("filter", found, name=action) if action else found

    def thing_of(self, place: int) -> int:
        """The thing that an event is done with."""
        return self.add("relate", place, predicate="undergoes", find="subject", kind="event")

    def actions(self, action: str = "") -> int:
        """All that the hand does; of one action where it is given."""
        place = self.chain([{"op": "events"}])
        return self.add("filter", place, name=action) if action else place

    def done(self) -> tuple[Step, ...]:
        """The whole program."""
        return tuple(self.steps)


def things_of(graph: SceneGraph) -> list[Node]:
    """The things that are told apart: those with a color, or in a world without any what actions are done with."""
    objects = [node for node in graph.nodes if node.kind == "object"]
    colored = [node for node in objects if dict(node.attributes).get("color")]
    handled = {edge.subject for edge in graph.edges if edge.kind == "event" and edge.predicate != "does"}
    return colored or [node for node in objects if node.node_id in handled]


def _named(graph: SceneGraph, but: str = "") -> Iterator[tuple[Node, Reference]]:
    """Every thing with each of its names that does not say `but`."""
    for node in things_of(graph):
        yield from ((node, reference) for reference in references(graph, node) if but not in reference.says)


def _named_twice(graph: SceneGraph) -> list[tuple[Node, Reference]]:
    """Every thing with its shortest and its longest name, for questions about two: all pairs of names are many."""
    found: list[tuple[Node, Reference]] = []
    for node in things_of(graph):
        names = references(graph, node)
        found += [(node, reference) for reference in (names if len(names) < 2 else (names[0], names[-1]))]
    return found


def _events(graph: SceneGraph) -> list[Node]:
    return [node for node in graph.nodes if node.kind == "event" and node.name in ACTION_WORDS]


def _actions(graph: SceneGraph) -> list[str]:
    """Names of the actions of a graph that are done with a thing, each once."""
    return [name for name in dict.fromkeys(event.name for event in _events(graph)) if takes_thing(name)]


def _done_with(graph: SceneGraph) -> Iterator[tuple[Node, Reference, str]]:
    """Each event with a name of its thing, and both as words: "taps the red ball"."""
    for event in _events(graph):
        thing = participant(graph, event)
        if thing is not None and takes_thing(event.name):
            for reference in references(graph, thing)[:3]:
                yield event, reference, ACTION_WORDS[event.name][1].format(reference.text)


# one step


def color_of(graph: SceneGraph) -> Iterator[Proposal]:
    """What color is the ball?"""
    for node, reference in _named(graph, but="color"):
        if dict(node.attributes).get("color"):
            program = Program()
            program.add("query", program.chain(reference.steps), attribute="color")
            yield Proposal(f"what color is {reference.text}?", program.done())


def name_of(graph: SceneGraph) -> Iterator[Proposal]:
    """What is the red thing?"""
    for _, reference in _named(graph, but="name"):
        program = Program()
        program.add("query", program.chain(reference.steps))
        yield Proposal(f"what is {reference.text}?", program.done())


def size_of(graph: SceneGraph) -> Iterator[Proposal]:
    """Is the ball small or large?"""
    for node, reference in _named(graph, but="size"):
        if dict(node.attributes).get("size"):
            program = Program()
            program.add("query", program.chain(reference.steps), attribute="size")
            yield Proposal(f"is {reference.text} small or large?", program.done())


def is_there(graph: SceneGraph) -> Iterator[Proposal]:
    """Is there a red ball? Of things that are there, and of names and colors that are there but not together."""
    things = [node for node in things_of(graph) if dict(node.attributes).get("color")]
    colors = dict.fromkeys(dict(node.attributes)["color"] for node in things)
    for name, color in itertools.product(dict.fromkeys(node.name for node in things), colors):
        program = Program()
        program.add("exist", program.chain(find_steps({"color": color, "name": name})))
        yield Proposal(f"is there a {color} {name}?", program.done(), "yes_no")


def how_many(graph: SceneGraph) -> Iterator[Proposal]:
    """How many things are on the table? How many actions does the hand do?"""
    if any(dict(node.attributes).get("color") for node in things_of(graph)):
        program = Program()
        program.add("count", program.chain(THINGS))
        yield Proposal("how many things are on the table?", program.done())
    program = Program()
    program.add("count", program.actions())
    yield Proposal("how many actions does the hand do?", program.done())


# two steps


def is_beside(graph: SceneGraph) -> Iterator[Proposal]:
    """Is the ball left of the mug at the start?"""
    for (node, reference), (other, far) in itertools.permutations(_named_twice(graph), 2):
        if node is other:
            continue
        for predicate, when in itertools.product(("left of", "right of", "above", "below"), ("start", "end")):
            program = Program()
            this = program.chain(reference.steps)
            beside = program.add(
                "relate", program.chain(far.steps), predicate=predicate, find="subject", kind="spatial", when=when
            )
            program.add("exist", program.add("both", this, beside))
            text = f"is {reference.text} {predicate} {far.text} at the {when}?"
            yield Proposal(text, program.done(), "yes_no")


def done_with(graph: SceneGraph) -> Iterator[Proposal]:
    """What does the hand do with the ball?"""
    for _, reference in _named(graph):
        program = Program()
        program.add("query", program.events_with(program.chain(reference.steps)))
        yield Proposal(f"what does the hand do with {reference.text}?", program.done())


def handled_by(graph: SceneGraph) -> Iterator[Proposal]:
    """What does the hand shake? What color is the thing that the hand shakes?"""
    for action in _actions(graph):
        infinitive, finite = (form.format("{}") for form in ACTION_WORDS[action])
        for attribute, text in (
            ("name", f"what does the hand {infinitive.replace(' {}', '')}?"),
            ("color", f"what color is the thing that the hand {finite.replace(' {}', '')}?"),
        ):
            program = Program()
            program.add("query", program.thing_of(program.actions(action)), attribute=attribute)
            yield Proposal(text, program.done())


def is_inside(graph: SceneGraph) -> Iterator[Proposal]:
    """What is inside the box at the end?"""
    for node, reference in _named(graph):
        if any(edge.predicate == "inside" and edge.object == node.node_id for edge in graph.edges):
            for attribute, text in (("name", "what is"), ("color", "what color is the thing")):
                program = Program()
                place = program.chain(reference.steps)
                found = program.add("relate", place, predicate="inside", find="subject", kind="relation", when="end")
                program.add("query", found, attribute=attribute)
                yield Proposal(f"{text} inside {reference.text} at the end?", program.done())


def done_at_end(graph: SceneGraph) -> Iterator[Proposal]:
    """What does the hand do first?"""
    for word in ("first", "last"):
        program = Program()
        program.add("query", program.add(word, program.actions()))
        yield Proposal(f"what does the hand do {word}?", program.done())


# three steps and more


def handled_at_end(graph: SceneGraph) -> Iterator[Proposal]:
    """What color is the thing that the hand handles first?"""
    for word, (attribute, text) in itertools.product(
        ("first", "last"), (("name", "what does the hand handle"), ("color", _COLOR_OF_HANDLED))
    ):
        program = Program()
        program.add("query", program.thing_of(program.add(word, program.actions())), attribute=attribute)
        yield Proposal(f"{text} {word}?", program.done())


_COLOR_OF_HANDLED = "what color is the thing that the hand handles"


def done_beside_action(graph: SceneGraph) -> Iterator[Proposal]:
    """What does the hand do right after it shakes the ball?"""
    for (event, reference, words), (word, order) in itertools.product(_done_with(graph), _ORDERS.items()):
        program = Program()
        known = program.events_with(program.chain(reference.steps), event.name)
        program.add("query", program.add(order, known))
        yield Proposal(f"what does the hand do right {word} it {words}?", program.done())


_ORDERS = {"after": "next", "before": "previous"}


def handled_beside_action(graph: SceneGraph) -> Iterator[Proposal]:
    """What color is the thing that the hand handles right after it shakes the ball?"""
    for (event, reference, words), (word, order) in itertools.product(_done_with(graph), _ORDERS.items()):
        for attribute, text in (("name", "what does the hand handle"), ("color", _COLOR_OF_HANDLED)):
            program = Program()
            known = program.events_with(program.chain(reference.steps), event.name)
            program.add("query", program.thing_of(program.add(order, known)), attribute=attribute)
            yield Proposal(f"{text} right {word} it {words}?", program.done())


def is_before(graph: SceneGraph) -> Iterator[Proposal]:
    """Does the hand tap the ball before it shakes the mug?"""
    for (event, reference, _), (later, far, words) in itertools.permutations(_done_with(graph), 2):
        if event is later:
            continue
        program = Program()
        first = program.events_with(program.chain(reference.steps), event.name)
        program.add("precedes", first, program.events_with(program.chain(far.steps), later.name))
        known = ACTION_WORDS[event.name][0].format(reference.text)
        yield Proposal(f"does the hand {known} before it {words}?", program.done(), "yes_no")


def is_handled_beside(graph: SceneGraph) -> Iterator[Proposal]:
    """Is the thing that the hand shakes left of the mug at the start?"""
    for action, (_, far) in itertools.product(_actions(graph), _named_twice(graph)):
        finite = ACTION_WORDS[action][1].replace(" {}", "")
        for predicate in ("left of", "right of"):
            program = Program()
            this = program.thing_of(program.actions(action))
            beside = program.add(
                "relate", program.chain(far.steps), predicate=predicate, find="subject", kind="spatial", when="start"
            )
            program.add("exist", program.add("both", this, beside))
            text = f"is the thing that the hand {finite} {predicate} {far.text} at the start?"
            yield Proposal(text, program.done(), "yes_no")


def is_same_color(graph: SceneGraph) -> Iterator[Proposal]:
    """Does the hand handle things of one color first and last?"""
    for attribute, text in (("color", "the same color as"), ("size", "the same size as")):
        program = Program()
        ends = [
            program.add("query", program.thing_of(program.add(word, program.actions())), attribute=attribute)
            for word in ("first", "last")
        ]
        program.add("same", *ends)
        yield Proposal(
            f"is the thing that the hand handles first of {text} the thing that it handles last?",
            program.done(),
            "yes_no",
        )


TEMPLATES: Mapping[str, Callable[[SceneGraph], Iterator[Proposal]]] = {
    template.__name__: template
    for template in (
        color_of,
        name_of,
        size_of,
        is_there,
        how_many,
        is_beside,
        done_with,
        handled_by,
        is_inside,
        done_at_end,
        handled_at_end,
        done_beside_action,
        handled_beside_action,
        is_before,
        is_handled_beside,
        is_same_color,
    )
}
"""Question type -> what proposes questions of it about a graph."""
