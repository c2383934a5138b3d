"""What a lane tells the engine's door about itself, whatever its family."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from guardrail.core.verdicts import Role
from guardrail.engine import family
from guardrail.errors import OverloadedError


class Door:
    """Stands before a runner; notes who comes, and lets in whom the test says."""

    def __init__(self, runner):
        self._submit = runner.submit
        self.open = True
        self.came: list[tuple[bool, float]] = []

    def __call__(self, *jobs, admitted, begins, waited_s):
        self.came.append((begins, waited_s))
        if not self.open:
            raise OverloadedError("full")
        self._submit(*jobs, admitted=admitted, begins=begins, waited_s=waited_s)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(family, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_a_lane_says_whether_it_begins_and_how_long_it_was_turned_away(make_scorer, clock, monkeypatch):
    scorer = make_scorer()
    door = Door(scorer.runner)
    monkeypatch.setattr(scorer.runner, "submit", door)
    lane = scorer.open()
    lane.begin_turn(Role.USER)

    door.open = False
    for _ in range(3):
        with pytest.raises(OverloadedError):
            await lane.extend("the cat")
        clock.now += 2.0
    door.open = True
    await lane.extend("the cat")
    await lane.extend(" sat")
    assert door.came == [(True, 0.0), (True, 2.0), (True, 4.0), (True, 6.0), (False, 0.0)]

    fork = lane.fork()  # of a conversation that has begun
    await fork.extend(" on")
    fresh = scorer.open()
    fresh.begin_turn(Role.USER)
    await fresh.extend("the cat")
    assert door.came[5:] == [(False, 0.0), (True, 0.0)]
    for each in (lane, fork, fresh):
        each.close()
