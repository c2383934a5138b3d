"""What a user said before the last answer is remembered where it bears on the help that is offered now."""

from __future__ import annotations

import time

import pytest

from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.observer import SilentObserver
from guardrail.policy.rules import CategoryRules, Policy, RoleRules
from guardrail.testing.composers import PlainComposer
from guardrail.testing.scorers import KeywordScorer
from guardrail.transports.driver import StreamDriver
from guardrail.transports.outputs import Inserted, StreamOpening
from guardrail.transports.services import Services

RULES = RoleRules(thresholds={2: 0.5}, interventions={2: "redirect"})
POLICY = Policy(
    version=1,
    name="memory",
    categories={"self_harm": CategoryRules(user=RULES), "mental_distress": CategoryRules(user=RULES)},
)
WORDS = {"die": {"self_harm": 0.9}, "hopeless": {"mental_distress": 0.9}}


@pytest.mark.parametrize(
    ("before", "now", "offered"),
    [
        ("I want to die.", "It is hopeless.", ["self_harm"]),
        ("It rains.", "It is hopeless.", ["mental_distress"]),
        ("I want to die.", "What is the weather?", []),
    ],
)
async def test_distress_after_a_disclosure_gets_the_help_for_it(before, now, offered):
    scorer = KeywordScorer(WORDS)
    services = Services(scorer, POLICY, PlainComposer(), SilentObserver(), time.monotonic)
    turns = (Turn(Role.USER, before), Turn(Role.ASSISTANT, "I hear you."), Turn(Role.USER, now))
    driver = StreamDriver(StreamOpening("s", "replay", "text", turns), services)
    await driver.start()
    await driver.chunk("0", "One. Two.")
    await driver.end()

    outputs = [output async for output in driver.outputs()]

    assert [output.intervention.category for output in outputs if isinstance(output, Inserted)] == offered
    assert scorer.open_lanes == 0
