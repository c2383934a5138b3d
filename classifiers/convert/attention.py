"""Attention of a step's new tokens over a lane's past and, causally, over each other.

The one place that says how; ``decoder`` and ``encoder`` bring queries, keys and values. Scores over the past and over
the new tokens are computed apart and put under one softmax, as in docs/adr/0004. With grouped queries, the queries
that share a head of keys and values are laid out one after the other, as if they were more tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from classifiers.convert.nodes import Nodes

MASKED = -1e9


@dataclass(frozen=True)
class Masks:
    """What is added to scores, for all layers."""

    past: str
    """[B, 1, 1, P]; what is no past of a lane is masked."""
    new: str
    """[1, 1, groups * T, T]; what comes later is masked."""
    groups: int
    """How many heads of queries share one of keys."""


def masks(nodes: Nodes, groups: int) -> Masks:
    """The masks of a step; ``groups`` queries share a head of keys."""
    zero, masked = nodes.number(0), nodes.number(MASKED)
    valid = nodes.node(
        "Less", nodes.arange("past_keys.0", 3), nodes.node("Unsqueeze", "past_length", nodes.ints(1))
    )
    past = nodes.node("Where", valid, zero, masked)
    place = nodes.arange("slots", 1)
    seen = nodes.node("LessOrEqual", place, nodes.node("Unsqueeze", place, nodes.ints(1)))
    new = nodes.node("Tile", nodes.node("Where", seen, zero, masked), nodes.ints(groups, 1))
    return Masks(
        nodes.node("Unsqueeze", past, nodes.ints(1, 2)),
        nodes.node("Unsqueeze", new, nodes.ints(0, 1)),
        groups,
    )


def attend(nodes: Nodes, query: str, new: tuple[str, str], past: tuple[str, str], shared: Masks) -> str:
    """The context of every new token.

    Args:
        nodes: where it is written.
        query: [N, key heads * groups, D], already scaled.
        new: keys and values of the new tokens, [N, key heads, D] each.
        past: those before, [B, key heads, D, P] and [B, key heads, P, D].
        shared: the masks.

    Returns:
        [N, key heads * groups * D].
    """
    width = nodes.node("Shape", query, start=2, end=3)
    heads = nodes.node("Shape", new[0], start=1, end=2)
    size = nodes.node("Shape", "slots", start=0, end=1)
    tokens = nodes.node("Shape", "slots", start=1, end=2)

    def in_rows(x: str, *perm: int) -> str:
        return nodes.node("Transpose", nodes.node("Gather", x, "slots"), perm=perm)

    query, keys, values = in_rows(query, 0, 2, 1, 3), in_rows(new[0], 0, 2, 3, 1), in_rows(new[1], 0, 2, 1, 3)
    if shared.groups > 1:  # heads that share keys stand together
        query = nodes.node("Reshape", query, nodes.node("Concat", size, heads, nodes.ints(-1), width, axis=0))
    old_scores, new_scores = (
        nodes.node("Add", nodes.node("MatMul", query, each), mask)
        for each, mask in ((past[0], shared.past), (keys, shared.new))
    )
    share = nodes.node("Softmax", nodes.node("Concat", old_scores, new_scores, axis=-1), axis=-1)
    start, end = nodes.ints(0), nodes.const(np.array([np.iinfo(np.int64).max]))
    border, last = nodes.node("Shape", past[0], start=3, end=4), nodes.ints(-1)
    context = nodes.node(
        "Add",
        nodes.node("MatMul", nodes.node("Slice", share, start, border, last), past[1]),
        nodes.node("MatMul", nodes.node("Slice", share, border, end, last), values),
    )
    every = nodes.node("Mul", heads, nodes.ints(shared.groups))
    if shared.groups > 1:
        context = nodes.node("Reshape", context, nodes.node("Concat", size, every, tokens, width, axis=0))
    context = nodes.node("Transpose", context, perm=[0, 2, 1, 3])
    whole = nodes.node("Concat", nodes.ints(-1), nodes.node("Mul", every, width), axis=0)
    return nodes.node("Gather", nodes.node("Reshape", context, whole), "places")
