"""Turns with made-up logits, for the code that turns scores into calibration and points."""

from __future__ import annotations

import numpy as np

from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.conversation import Example
from classifiers.default.labels import INDEX
from classifiers.default.points import OWN_INSERTS
from classifiers.default.scoring import Scored
from classifiers.default.sets import Case

SURE = 9.0


def item(role="user", *, group="dev", src="made_up", labels=None, harm=0, lang="en", **logits):
    """A turn of one token with these logits, elsewhere -9."""
    row = {
        "role": role,
        "group": group,
        "src": src,
        "labels": labels or {},
        "harm": harm,
        "lang": lang,
        "text": "x",
    }
    values = np.full((1, len(CATEGORIES)), -SURE, np.float32)
    for name, value in logits.items():
        values[0, INDEX[name]] = value
    return Scored(Case(row, Example([1]), [0]), values)


def made_up(seed, scale=1.0):
    """Benign and harmful turns of several sources, some of them hot, with the heads' logits at random."""
    rng = np.random.default_rng(seed)

    def turn(role, group, src, heat, **more):
        one = item(role, group=group, src=src, **more)
        one.logits[:] = rng.normal(heat, 2.5, len(CATEGORIES)) / scale
        return one

    turns = []
    for role in ROLES:
        turns += [turn(role, "ordinary", "large", -6) for _ in range(400)]
        turns += [turn(role, "ordinary", "small", -1) for _ in range(60)]
        turns += [turn(role, "lookalike", "near", 0) for _ in range(120)]
        turns += [turn(role, "constructive", "far", -5) for _ in range(300)]
        for name in CATEGORIES[:-1]:
            turns += [turn(role, "dev", "bad", 5, labels={name: 2}, harm=1) for _ in range(20)]
    return turns + [turn("assistant", "generated", src, 2) for src in sorted(OWN_INSERTS) for _ in range(10)]
