"""Invariant 8: no user or model text in metrics, trace spans, logs or audit lines."""

from __future__ import annotations

import logging

import pytest

from guardrail.core.composition import Resource
from guardrail.observer import (
    FindingReported,
    InterventionApplied,
    ScoringFailed,
    SegmentScored,
    StreamEnded,
    StreamOpened,
    TextUnscanned,
)
from guardrail.telemetry.audit import AuditLog
from guardrail.telemetry.logs import configure_logging
from guardrail.telemetry.setup import Telemetry

CANARY = "the canary sings: my name is Canary Islands"


@pytest.fixture
def poisoned(make):
    """A stream's records with text wherever a caller, an upstream or a rewriter model could put it."""
    resource = Resource(CANARY, CANARY, CANARY, CANARY)
    changes = {
        StreamOpened: ("stream_id", "transport", "dialect", "tenant", "policy", "mode", "locale"),
        FindingReported: ("stream_id", "lane", "role", "category"),
        InterventionApplied: ("stream_id", "lane", "kind", "category", "text", "wording"),
        ScoringFailed: ("stream_id", "lane", "reason", "stance"),
        SegmentScored: ("stream_id", "lane"),
        TextUnscanned: ("stream_id", "what"),
        StreamEnded: ("stream_id", "outcome"),
    }
    extra = {InterventionApplied: {"resources": (resource,)}, StreamEnded: {"unscanned": {CANARY: 9}}}
    return [
        make(kind, **dict.fromkeys(fields, CANARY), **extra.get(kind, {})) for kind, fields in changes.items()
    ]


class Quoting:
    """An observer that fails and quotes."""

    def record(self, record):
        raise ValueError(CANARY)


@pytest.fixture
def audit_path(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
def told(metrics, trace_spans, audit_path):
    telemetry = Telemetry(
        log=AuditLog(str(audit_path)),
        meters=metrics.provider,
        tracers=trace_spans[0],
        tenants=["acme"],
        also=[Quoting()],
    )
    yield telemetry
    telemetry.shutdown()


@pytest.fixture(params=["json", "text"])
def process_log(request, log_output):
    configure_logging("debug", request.param, stream=log_output)
    return log_output


def test_text_gets_out_nowhere(told, poisoned, metrics, trace_spans, audit_path, process_log):  # noqa: PLR0917
    for record in poisoned:
        told.record(record)
    try:
        Quoting().record(None)
    except ValueError:
        logging.getLogger("guardrail.transports").exception("a stream failed")

    said = {
        "metrics": metrics.reader.get_metrics_data().to_json(),
        "trace spans": "".join(span.to_json() for span in trace_spans[1].get_finished_spans()),
        "audit log": audit_path.read_text(),
        "log": process_log.getvalue().replace("test_canary.py", ""),
    }
    for where, words in said.items():
        assert words, f"nothing was written to the {where}"
        assert "canary" not in words.lower(), where
