from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode, use_span

from guardrail.observer import FindingReported, InterventionApplied, SegmentScored, StreamEnded, StreamOpened
from guardrail.telemetry.bounds import OpenStreams
from guardrail.telemetry.tracing import TracingObserver


@pytest.fixture
def finished(trace_spans):
    _, exporter = trace_spans
    return exporter.get_finished_spans


@pytest.fixture
def observer(trace_spans):
    return TracingObserver(trace_spans[0])


def test_a_stream_is_one_trace_span_with_its_story_as_events(observer, finished, whole_stream):
    for record in whole_stream:
        observer.record(record)

    [span] = finished()
    assert span.name == "guardrail.stream"
    assert span.attributes == {
        "guardrail.stream.id": "s1",
        "guardrail.transport": "ext_proc",
        "guardrail.dialect": "chat_completions",
        "guardrail.tenant": "acme",
        "guardrail.policy": "default@3",
        "guardrail.mode": "enforce",
        "guardrail.outcome": "intervened",
        "guardrail.lanes": 1,
        "guardrail.findings": 1,
        "guardrail.interventions": 1,
        "guardrail.chars.arrived": 100,
        "guardrail.chars.released": 90,
        "guardrail.chars.withheld": 10,
        "guardrail.chars.inserted": 36,
        "guardrail.chars.unscanned": 7,
        "guardrail.chars.exposed": 0,
    }
    assert [event.name for event in span.events] == [
        "guardrail.finding",
        "guardrail.intervention",
        "guardrail.scoring_failure",
        "guardrail.unscanned",
    ]
    assert span.events[0].attributes == {
        "guardrail.lane": "0/content",
        "guardrail.role": "assistant",
        "guardrail.category": "self_harm",
        "guardrail.severity": 3,
        "guardrail.score": 0.93,
        "guardrail.span.start": 40,
        "guardrail.span.end": 52,
    }
    assert span.events[1].attributes["guardrail.at"] == 38
    assert span.events[1].attributes["guardrail.wording"] == "self_harm/redirect#2"


def test_streams_do_not_mix(observer, finished, make):
    for stream_id in ("a", "b"):
        observer.record(make(StreamOpened, stream_id=stream_id))
    observer.record(make(FindingReported, stream_id="b"))
    for stream_id in ("a", "b"):
        observer.record(make(StreamEnded, stream_id=stream_id))

    assert [len(span.events) for span in finished()] == [0, 1]
    assert len({span.context.trace_id for span in finished()}) == 2


def test_the_current_trace_is_continued(trace_spans, observer, finished, make):
    parent = trace_spans[0].get_tracer("test").start_span("request")
    with use_span(parent):
        observer.record(make(StreamOpened))
    observer.record(make(StreamEnded))

    [span] = finished()
    assert span.parent.span_id == parent.get_span_context().span_id


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("completed", StatusCode.UNSET),
        ("intervened", StatusCode.UNSET),
        ("cancelled", StatusCode.UNSET),
        ("upstream_error", StatusCode.ERROR),
        ("error", StatusCode.ERROR),
    ],
)
def test_faults_are_errors_and_interventions_are_not(observer, finished, make, outcome, status):
    observer.record(make(StreamOpened))
    observer.record(make(StreamEnded, outcome=outcome))

    [span] = finished()
    assert span.status.status_code is status


def test_records_of_unknown_streams_are_ignored(observer, finished, make):
    observer.record(make(FindingReported))
    observer.record(make(SegmentScored))
    observer.record(make(StreamEnded))

    assert finished() == ()


def test_lost_and_repeated_streams_are_ended(observer, finished, make):
    observer._open = OpenStreams(limit=1)
    for stream_id in ("a", "a", "b"):
        observer.record(make(StreamOpened, stream_id=stream_id))

    assert [span.attributes["guardrail.outcome"] for span in finished()] == ["lost", "lost"]

    observer.close()
    assert len(finished()) == 3


def test_a_trace_that_is_not_sampled_costs_no_events(make, monkeypatch):
    observer = TracingObserver(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    monkeypatch.setattr("guardrail.telemetry.tracing._event", lambda record: pytest.fail("built for nothing"))

    observer.record(make(StreamOpened))
    observer.record(make(InterventionApplied))
    observer.record(make(StreamEnded))
