"""Programs on scene graphs: a question's way to its answer, step by step, executed on any graph.

A program is a list of steps; a step names its operation, the earlier steps that it works on, and what else it needs:

    [{"op": "objects", "inputs": []},
     {"op": "filter", "inputs": [0], "name": "ball"},
     {"op": "query", "inputs": [1], "attribute": "color"}]

The operations are those of CLEVR's and AGQA's programs as far as a graph with times has them. A filter that matches
nothing is an empty set and no error, since "is there" and "how many" are asked of it; every operation that goes on
from a thing refuses an empty set, and one of several things where one is meant. (STAR's executor returns everything
where a filter finds nothing, so that an answer comes out of a question without one.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import GraphError, UnanswerableProgram
from .graph import Edge, Node, SceneGraph

Step = Mapping[str, Any]
Span = tuple[float, float]
Value = tuple[str, ...] | str | bool | int
"""What a step gives: names of nodes in the order of the graph, a text, a truth or a number."""

MOMENTS = ("any", "start", "end")
"""When an edge must hold: at any time, in the first frame of the video, or in the last."""

MAX_STEPS = 64
"""More than any question has: programs can come from files of others."""


@dataclass(frozen=True)
class Execution:
    """What executing a program gave.

    Args:
        values: Value of each step; of nodes, their ids.
        spans: Intervals in seconds of what each step looked at, one tuple per step; empty where it looked at no time.
    """

    values: tuple[Value, ...]
    spans: tuple[tuple[Span, ...], ...]

    @property
    def answer(self) -> Value:
        """Value of the last step."""
        return self.values[-1]

    @property
    def answer_text(self) -> str:
        """The answer as text: "yes" or "no", a number in digits, or a name."""
        if isinstance(self.answer, bool):
            return "yes" if self.answer else "no"
        return ", ".join(self.answer) if isinstance(self.answer, tuple) else str(self.answer)


def execute(graph: SceneGraph, program: Sequence[Step]) -> Execution:
    """Execute a program on a graph.

    Args:
        graph: The graph that is asked.
        program: Steps, each after those that it works on.

    Raises:
        GraphError: The program is none: it is empty or too long, an operation is unknown, or lacks an argument.
        UnanswerableProgram: A step finds nothing, or several where one is meant.
    """
    if not 0 < len(program) <= MAX_STEPS:
        raise GraphError(f"a program of {len(program)} steps, expected 1 to {MAX_STEPS}")
    values: list[Value] = []
    spans: list[tuple[Span, ...]] = []
    for index, step in enumerate(program):
        call = _Call(graph, step, index, values)
        operation = OPERATIONS.get(str(call.argument("op", "")))
        if operation is None:
            raise GraphError(f"step {index} has the operation {step.get('op')!r}, expected one of {list(OPERATIONS)}")
        values.append(operation(call))
        spans.append(tuple(call.spans))
    return Execution(tuple(values), tuple(spans))


def count_steps(program: Sequence[Step]) -> int:
    """Steps of reasoning: every operation that goes from one thing to another or ends in an answer.

    Naming what is meant, by `objects`, `events`, `filter`, `both` and `either`, is no step.
    """
    return sum(step.get("op") not in _NAMING for step in program)


def program_text(program: Sequence[Step]) -> str:
    """The program as JSON, the same bytes for the same program."""
    return json.dumps([dict(step) for step in program], sort_keys=True, separators=(", ", ": "))


def read_program(text: str) -> list[dict[str, Any]]:
    """A program from its text.

    Raises:
        GraphError: It is not a JSON list of objects.
    """
    try:
        program = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GraphError(f"a program is not JSON: {error}") from error
    if not isinstance(program, list) or not all(isinstance(step, dict) for step in program):
        raise GraphError("a program is not a list of steps")
    return program


class _Call:
    """One step as it is executed: its inputs and arguments, checked as they are read."""

    def __init__(self, graph: SceneGraph, step: Step, index: int, values: Sequence[Value]):
        self.graph, self.step, self.index, self.values = graph, step, index, values
        self.spans: list[Span] = []

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument of the step, which is a text."""
        value = self.step.get(name, default)
        if not isinstance(value, str):
            raise GraphError(f"{self.where}: {name} is {value!r}, expected a text")
        return value

    @property
    def where(self) -> str:
        return f"step {self.index} ({self.step.get('op')})"

    def value(self, number: int) -> Value:
        """The value of an input."""
        inputs = self.step.get("inputs", [])
        place = inputs[number] if isinstance(inputs, Sequence) and number < len(inputs) else None
        if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < self.index:
            raise GraphError(f"{self.where}: inputs are {inputs!r}, expected numbers of earlier steps")
        return self.values[place]

    def nodes(self, number: int = 0) -> list[Node]:
        """An input that is a set of nodes, perhaps empty."""
        value = self.value(number)
        if not isinstance(value, tuple):
            raise GraphError(f"{self.where}: input {number} is {value!r}, expected nodes")
        return [self.graph.node(node_id) for node_id in value]

    def some(self, number: int = 0) -> list[Node]:
        """An input of at least one node."""
        found = self.nodes(number)
        if not found:
            raise UnanswerableProgram(f"{self.where}: there is nothing to go on from", "nothing")
        return found

    def one(self, number: int = 0) -> Node:
        """An input of exactly one node."""
        found = self.some(number)
        if len(found) > 1:
            names = [node.node_id for node in found]
            raise UnanswerableProgram(f"{self.where}: {names} are meant where one is", "several")
        return found[0]

    def event(self, number: int = 0) -> tuple[Node, Span]:
        """An input of one event whose interval is known."""
        node = self.one(number)
        return node, self.interval(node)

    def interval(self, node: Node) -> Span:
        """The interval of an event."""
        if node.start_s is None or node.end_s is None:
            raise UnanswerableProgram(f"{self.where}: when {node.node_id!r} happens is not known", "nothing")
        return node.start_s, node.end_s

    def in_order(self, node_ids: Iterable[str]) -> tuple[str, ...]:
        """Ids in the order of the graph."""
        wanted = set(node_ids)
        return tuple(node.node_id for node in self.graph.nodes if node.node_id in wanted)

    def all_of(self, kind: str) -> tuple[str, ...]:
        """Ids of all nodes of a kind."""
        return tuple(node.node_id for node in self.graph.nodes if node.kind == kind)


def _filter(call: _Call) -> Value:
    """Those of a set with a `name`, or with an `attribute`, of a `value` where one is given."""
    nodes = call.nodes()
    if "name" in call.step:
        name = call.argument("name")
        return tuple(node.node_id for node in nodes if node.name == name)
    kind = call.argument("attribute")
    value = call.argument("value", "")
    return tuple(node.node_id for node in nodes if any(k == kind and value in ("", v) for k, v in node.attributes))


def _relate(call: _Call) -> Value:
    """What is the subject (`find` "subject") or object of a `predicate` whose other side is the input.

    `kind` narrows the edges; `when` is one of `MOMENTS`, or the second input is an event during which it must hold.
    """
    node, predicate = call.one(), call.argument("predicate")
    find, kind, when = call.argument("find", "subject"), call.argument("kind", ""), call.argument("when", "any")
    if find not in ("subject", "object") or when not in MOMENTS:
        raise GraphError(f"{call.where}: find is {find!r} and when {when!r}")
    window = _window(call, when)
    found = []
    for edge in call.graph.edges:
        this, other = (edge.object, edge.subject) if find == "subject" else (edge.subject, edge.object)
        if this == node.node_id and edge.predicate == predicate and kind in ("", edge.kind) and _holds(edge, window):
            found.append(other)
            call.spans += [(edge.start_s, edge.end_s)] if edge.start_s is not None and edge.end_s is not None else []
            target = call.graph.node(other)
            call.spans += [
                (event.start_s, event.end_s)
                for event in (node, target)
                if event.start_s is not None and event.end_s is not None
            ]
    return call.in_order(found)


def _window(call: _Call, when: str) -> Span | None:
    if len(call.step.get("inputs", [])) > 1:
        return call.event(1)[1]
    if when == "any":
        return None
    times = [point.timestamp_s for node in call.graph.nodes for point in node.track]
    if not times:
        raise UnanswerableProgram(f"{call.where}: no node has a track, so there is no first or last frame", "nothing")
    moment = min(times) if when == "start" else max(times)
    return moment, moment


def _holds(edge: Edge, window: Span | None) -> bool:
    """Whether an edge holds at some time of a window, or at its moment where both ends are one; untimed ones do."""
    if window is None or edge.start_s is None or edge.end_s is None:
        return True
    start, end = window
    return edge.start_s <= start < edge.end_s or start < edge.start_s < end


def _both(call: _Call) -> Value:
    second = {node.node_id for node in call.nodes(1)}
    return tuple(node.node_id for node in call.nodes() if node.node_id in second)


def _either(call: _Call) -> Value:
    return call.in_order(node.node_id for number in (0, 1) for node in call.nodes(number))


def _ordered(call: _Call, nodes: Sequence[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: call.interval(node))


def _end_of_order(call: _Call, place: int) -> Value:
    """The first (0) or last (-1) of a set of events."""
    node = _ordered(call, call.some())[place]
    call.spans.append(call.interval(node))
    return (node.node_id,)


def _later(call: _Call, sense: int, nearest: bool) -> Value:
    """Events that begin when the input has ended (+1), or that have ended when it begins (-1); perhaps the nearest."""
    _, (start, end) = call.event()
    events = [call.graph.node(node_id) for node_id in call.all_of("event")]
    timed = [node for node in events if node.start_s is not None and node.end_s is not None]
    found = [
        node
        for node in _ordered(call, timed)
        if (call.interval(node)[0] >= end if sense > 0 else call.interval(node)[1] <= start)
    ]
    if nearest:
        found = found[:1] if sense > 0 else found[-1:]
        call.spans += [(start, end), *(call.interval(node) for node in found)]
    return call.in_order(node.node_id for node in found)


def _query(call: _Call) -> Value:
    """The name, or the value of an `attribute`, of one node."""
    node, attribute = call.one(), call.argument("attribute", "name")
    if attribute == "name":
        return node.name
    values = [value for kind, value in node.attributes if kind == attribute]
    if len(values) != 1:
        reason = "several" if values else "nothing"
        raise UnanswerableProgram(f"{call.where}: {node.node_id!r} has the {attribute} {values}", reason)
    return values[0]


def _same(call: _Call) -> Value:
    return call.value(0) == call.value(1)


def _precedes(call: _Call) -> Value:
    """Whether the first event has ended when the second begins."""
    (_, first), (_, second) = call.event(0), call.event(1)
    call.spans += [first, second]
    return first[1] <= second[0]


def _more(call: _Call) -> Value:
    """Whether the first of two sets has more members."""
    return len(call.nodes(0)) > len(call.nodes(1))


OPERATIONS: Mapping[str, Callable[[_Call], Value]] = {
    "objects": lambda call: call.all_of("object"),
    "events": lambda call: call.all_of("event"),
    "filter": _filter,
    "both": _both,
    "either": _either,
    "relate": _relate,
    "first": lambda call: _end_of_order(call, 0),
    "last": lambda call: _end_of_order(call, -1),
    "next": lambda call: _later(call, 1, nearest=True),
    "previous": lambda call: _later(call, -1, nearest=True),
    "after": lambda call: _later(call, 1, nearest=False),
    "before": lambda call: _later(call, -1, nearest=False),
    "query": _query,
    "exist": lambda call: bool(call.nodes()),
    "count": lambda call: len(call.nodes()),
    "same": _same,
    "more": _more,
    "precedes": _precedes,
}
"""Name of an operation -> what it does."""

_NAMING = ("objects", "events", "filter", "both", "either")
