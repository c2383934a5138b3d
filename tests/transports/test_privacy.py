"""Invariant 8: no user or model text in logs, metrics, traces, audit lines or records."""

from __future__ import annotations

import logging
import time

from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.interventions.composer import load_composer
from guardrail.telemetry import telemetry
from guardrail.testing.scorers import KeywordScorer
from guardrail.transports.driver import StreamDriver
from guardrail.transports.outputs import StreamOpening
from guardrail.transports.services import Services
from tests.core.properties import policy

CANARY = "zanzibarcanary"
WORDS = {"doom": {"violence": 0.95}, "tears": {"mental_distress": 0.9}}


class Records:
    def __init__(self):
        self.all = []

    def record(self, record):
        self.all.append(record)


async def play(services, *, user, chunks):
    opening = StreamOpening("s1", "grpc", "native", (Turn(Role.USER, user),), locale="en-GB")
    driver = StreamDriver(opening, services)
    await driver.start()
    for chunk in chunks:
        await driver.chunk("0", chunk)
    await driver.end()
    return [output async for output in driver.outputs()]


async def test_no_text_leaves_by_another_door(tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    records = Records()
    told = telemetry({}, audit=str(tmp_path / "audit.jsonl"), also=[records])
    fails = KeywordScorer(WORDS, fail=lambda text: "breaks" in text)
    services = Services(fails, policy(on_failure="redirect"), load_composer(), told, time.monotonic)

    replaced = await play(
        services, user=f"{CANARY} please", chunks=[f"The {CANARY} and tears. Then doom doom {CANARY}."]
    )
    broken = await play(services, user=f"{CANARY} please", chunks=[f"It breaks {CANARY} here."])
    told.shutdown()

    assert any(CANARY in repr(output) for output in replaced), "the client gets the text"
    assert any(type(record).__name__ == "InterventionApplied" for record in records.all)
    assert any(type(record).__name__ == "ScoringFailed" for record in records.all)
    assert broken
    said = capsys.readouterr()
    for place, text in {
        "records": repr(records.all),
        "audit": (tmp_path / "audit.jsonl").read_text(),
        "log": caplog.text,
        "standard error": said.err + said.out,
    }.items():
        assert CANARY not in text, f"user or model text in {place}"
    assert (tmp_path / "audit.jsonl").read_text().count("\n") >= 2
