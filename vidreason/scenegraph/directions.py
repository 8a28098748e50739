"""Statements that can be made from either end: who holds a cup says what is held by whom.

Two graphs say the same where one has "cup, left of, plate" and the other "plate, right of, cup", or where either order
of "cup, near, plate" is written; and something else where "person holds cup" is turned round. Which predicates have
another end is a table; a predicate that is not in it holds from subject to object alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from .geometry import INVERSES
from .graph import Edge

TURNED: Mapping[str, str] = MappingProxyType(
    {
        # of each pair of the rules for boxes the one that comes first in the alphabet stays; those alike both ways too
        **{predicate: other for predicate, other in INVERSES.items() if predicate >= other},
        "after": "before",
        "behind": "in front of",
        "beneath": "above",
        "held by": "holds",
        "beside": "beside",
        "next to": "next to",
        "same as": "same as",
    }
)
"""Predicate -> what holds from object to subject where it holds from subject to object. One that is its own value
holds both ways, any other is left for the one that it names."""


def one_way(edge: Edge, turned: Mapping[str, str] = TURNED) -> Edge:
    """The same statement from the end that it is compared from.

    Args:
        edge: The statement.
        turned: Predicates that are turned round, as `TURNED` has them.

    Returns:
        The edge, turned round where its predicate is another's other end, or where it holds both ways and the name of
        its object comes before that of its subject.
    """
    other = turned.get(edge.predicate)
    if other is None or (other == edge.predicate and edge.subject <= edge.object):
        return edge
    return dataclasses.replace(edge, subject=edge.object, predicate=other, object=edge.subject)
