"""One trace span a guarded stream, from its opening to its end, with what was found and done as events.

``TracingObserver`` is given a tracer provider. It knows no text: events carry positions, words of our
vocabularies and numbers. The word *span* alone means a place in text throughout this project; OpenTelemetry's
is always a *trace span*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import Span as TraceSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from guardrail.observer import (
    FindingReported,
    InterventionApplied,
    Record,
    ScoringFailed,
    SegmentScored,
    StreamEnded,
    StreamOpened,
    TextUnscanned,
)
from guardrail.telemetry import attributes as names
from guardrail.telemetry.bounds import OpenStreams
from guardrail.telemetry.redaction import identifier, word

_FAULTS: Final = frozenset({"error", "upstream_error"})
"""Outcomes that make the trace span an error. An intervention is the work being done, not a fault."""

LOST: Final = "lost"
"""The outcome of a stream whose end was never told."""


@dataclass(slots=True)
class _Stream:
    """An open stream's trace span and what it has gathered."""

    trace_span: TraceSpan
    findings: int = 0


class TracingObserver:
    """Turns the records of each stream into a trace span.

    The trace span's parent is the one current in the context where ``StreamOpened`` is recorded, if any.

    Args:
        tracer_provider: where the trace spans are created.
    """

    def __init__(self, tracer_provider: TracerProvider) -> None:
        self._tracer = tracer_provider.get_tracer(names.SCOPE_NAME, attributes=names.SCOPE_ATTRIBUTES)
        self._open: OpenStreams[_Stream] = OpenStreams()

    def record(self, record: Record) -> None:
        """Put one record on the trace span of its stream."""
        match record:
            case StreamOpened():
                self._opened(record)
            case StreamEnded():
                self._ended(record)
            case SegmentScored():
                pass  # one a word: a metric's business, it would drown a trace
            case FindingReported() | InterventionApplied() | ScoringFailed() | TextUnscanned():
                stream = self._open.get(record.stream_id)
                # A trace span that was not sampled takes no events; do not build them.
                if stream is not None and stream.trace_span.is_recording():
                    stream.findings += isinstance(record, FindingReported)
                    name, attributes = _event(record)
                    stream.trace_span.add_event(name, attributes)

    def close(self) -> None:
        """End the trace spans of streams that are still open, because the process goes."""
        for stream in self._open.drain():
            _lose(stream)

    def _opened(self, record: StreamOpened) -> None:
        trace_span = self._tracer.start_span(
            names.STREAM_SPAN,
            kind=SpanKind.INTERNAL,
            attributes={
                names.SPAN_STREAM_ID: identifier(record.stream_id),
                names.SPAN_TRANSPORT: word(record.transport),
                names.SPAN_DIALECT: word(record.dialect),
                names.SPAN_TENANT: identifier(record.tenant),
                names.SPAN_POLICY: identifier(record.policy),
                names.SPAN_MODE: word(record.mode),
            },
        )
        pushed_out = self._open.open(record.stream_id, _Stream(trace_span))
        if pushed_out is not None:
            _lose(pushed_out)

    def _ended(self, record: StreamEnded) -> None:
        stream = self._open.close(record.stream_id)
        if stream is None:
            return
        stream.trace_span.set_attributes(
            {
                names.SPAN_OUTCOME: word(record.outcome),
                names.SPAN_LANES: record.lanes,
                names.SPAN_FINDINGS: stream.findings,
                names.SPAN_INTERVENTIONS: record.interventions,
                names.SPAN_ARRIVED_CHARS: record.arrived_chars,
                names.SPAN_RELEASED_CHARS: record.released_chars,
                names.SPAN_WITHHELD_CHARS: record.withheld_chars,
                names.SPAN_INSERTED_CHARS: record.inserted_chars,
                names.SPAN_UNSCANNED_CHARS: sum(record.unscanned.values()),
                names.SPAN_EXPOSURE_CHARS: record.exposure_chars,
            }
        )
        if record.outcome in _FAULTS:
            stream.trace_span.set_status(Status(StatusCode.ERROR))
        stream.trace_span.end()


def _lose(stream: _Stream) -> None:
    stream.trace_span.set_attribute(names.SPAN_OUTCOME, LOST)
    stream.trace_span.end()


def _event(
    record: FindingReported | InterventionApplied | ScoringFailed | TextUnscanned,
) -> tuple[str, Mapping[str, str | int | float | bool]]:
    match record:
        case FindingReported():
            return names.FINDING_EVENT, {
                names.EVENT_LANE: word(record.lane),
                names.EVENT_ROLE: word(record.role),
                names.EVENT_CATEGORY: word(record.category),
                names.EVENT_SEVERITY: record.severity,
                names.EVENT_SCORE: record.score,
                names.EVENT_START: record.start,
                names.EVENT_END: record.end,
            }
        case InterventionApplied():
            return names.INTERVENTION_EVENT, {
                names.EVENT_LANE: word(record.lane),
                names.EVENT_KIND: word(record.kind),
                names.EVENT_CATEGORY: word(record.category),
                names.EVENT_SEVERITY: record.severity,
                names.EVENT_SCORE: record.score,
                names.EVENT_AT: record.at,
                names.EVENT_WORDING: identifier(record.wording),
                names.EVENT_ENFORCED: record.enforced,
            }
        case ScoringFailed():
            return names.SCORING_FAILURE_EVENT, {
                names.EVENT_LANE: word(record.lane),
                names.EVENT_REASON: word(record.reason),
                names.EVENT_STANCE: word(record.stance),
                names.EVENT_CHARS: record.chars,
            }
        case TextUnscanned():
            return names.UNSCANNED_EVENT, {
                names.EVENT_WHAT: word(record.what),
                names.EVENT_CHARS: record.chars,
            }
