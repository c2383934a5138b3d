"""Counts what happened, as OpenTelemetry instruments.

``MetricsObserver`` is given a meter provider and knows neither where its numbers go nor how often. It keeps
labels few: every value passes ``LabelBounds``, stream ids and policies never become labels, and the tenant
does only for tenants the operator listed, because a tenant per customer is the usual way to ruin a
time-series database.

Referrals are counted as California's SB 243 asks: how often crisis help was offered to somebody, by country
and category, with no identifier of anyone. One intervention counts once, under the country of the first
resource that has one; in observe mode nobody was offered anything, so nothing is counted.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.metrics import MeterProvider

from guardrail.observer import (
    EngineLost,
    EngineReached,
    FindingReported,
    InterventionApplied,
    Record,
    ScoringFailed,
    SegmentScored,
    StreamEnded,
    StreamOpened,
    TextUnscanned,
)
from guardrail.policy.judge import OVERLOADS
from guardrail.telemetry import attributes as names
from guardrail.telemetry.bounds import LabelBounds, OpenStreams
from guardrail.telemetry.redaction import OTHER

# A step of the classifier takes tenths of a millisecond on a GPU; beyond seconds the deadline has acted.
SCORING_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# From an immediate end to a long answer of a slow model.
STREAM_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 600.0)
# Zero has a bucket of its own: "nothing got through" is the number people look for.
EXPOSURE_BUCKETS: Final = (0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0)


@dataclass(frozen=True, slots=True)
class _Stream:
    """The labels of an open stream."""

    labels: dict[str, str]
    tenant: dict[str, str]
    observed: bool
    overloads: set[str] = field(default_factory=set)
    """The stances followed in it because the engine was too slow."""


class MetricsObserver:
    """Turns records into metrics.

    Args:
        meter_provider: where the instruments are created.
        tenants: tenants that may appear as a label; any other is "other". Without any, no tenant label.
    """

    def __init__(self, meter_provider: MeterProvider, *, tenants: Collection[str] = ()) -> None:
        meter = meter_provider.get_meter(names.SCOPE_NAME, attributes=names.SCOPE_ATTRIBUTES)
        self._tenants = frozenset(tenants)
        self._bounds = LabelBounds()
        self._open: OpenStreams[_Stream] = OpenStreams()
        self._streams = meter.create_counter(names.STREAMS, "{stream}", "Guarded streams that ended")
        self._active = meter.create_up_down_counter(names.ACTIVE_STREAMS, "{stream}", "Guarded streams now")
        self._stream_duration = meter.create_histogram(
            names.STREAM_DURATION,
            "s",
            "From the opening of a guarded stream to its end",
            explicit_bucket_boundaries_advisory=STREAM_BUCKETS_S,
        )
        self._findings = meter.create_counter(names.FINDINGS, "{finding}", "Scores over their threshold")
        self._interventions = meter.create_counter(
            names.INTERVENTIONS, "{intervention}", "Interventions; not enforced ones only in observe mode"
        )
        self._delay = meter.create_histogram(
            names.INTERVENTION_DELAY,
            "s",
            "From the decision to intervene to the insert",
            explicit_bucket_boundaries_advisory=SCORING_BUCKETS_S,
        )
        self._referrals = meter.create_counter(
            names.REFERRALS, "{referral}", "Interventions that offered somebody a crisis resource"
        )
        self._failures = meter.create_counter(
            names.SCORING_FAILURES, "{failure}", "Text that could not be scored, by the stance taken"
        )
        self._overload_streams = meter.create_counter(
            names.OVERLOAD_STREAMS, "{stream}", "Streams the engine was too slow for, by the stance taken"
        )
        self._overload_chars = meter.create_counter(
            names.OVERLOAD_CHARS, "{char}", "Text the engine was too slow for, by the stance taken"
        )
        self._scoring_duration = meter.create_histogram(
            names.SCORING_DURATION,
            "s",
            "From handing text to the scorer to its scores",
            explicit_bucket_boundaries_advisory=SCORING_BUCKETS_S,
        )
        self._scored_tokens = meter.create_counter(names.SCORED_TOKENS, "{token}", "Classifier tokens scored")
        self._unscanned = meter.create_counter(
            names.UNSCANNED_CHARS, "{char}", "Text that went by and nobody scored"
        )
        self._chars = meter.create_counter(names.CHARS, "{char}", "Text of streams that ended, by its fate")
        self._engines = meter.create_up_down_counter(
            names.ENGINES, "{engine}", "Engines this process scores with now, by what runs there"
        )
        self._engine_losses = meter.create_counter(
            names.ENGINE_LOSSES, "{loss}", "Times the engine in another process went away"
        )
        self._exposure = meter.create_histogram(
            names.EXPOSURE_CHARS,
            "{char}",
            "Risky text a client got, per stream in observe mode",
            explicit_bucket_boundaries_advisory=EXPOSURE_BUCKETS,
        )

    def record(self, record: Record) -> None:
        """Count one record."""
        match record:
            case StreamOpened():
                self._opened(record)
            case FindingReported():
                self._findings.add(
                    1,
                    {
                        names.ROLE: self._bounds.admit(names.ROLE, record.role),
                        names.CATEGORY: self._bounds.admit(names.CATEGORY, record.category),
                        names.SEVERITY: record.severity,
                    },
                )
            case InterventionApplied():
                self._intervened(record)
            case ScoringFailed():
                self._failed(record)
            case SegmentScored():
                self._scoring_duration.record(record.latency_s)
                self._scored_tokens.add(record.tokens)
            case TextUnscanned():
                self._unscanned.add(record.chars, {names.WHAT: self._bounds.admit(names.WHAT, record.what)})
            case StreamEnded():
                self._ended(record)
            case EngineReached():
                self._engines.add(1, self._engine(record))
            case EngineLost():
                self._engines.add(-1, self._engine(record))
                reason = self._bounds.admit(names.REASON, record.reason)
                self._engine_losses.add(1, {names.REASON: reason})

    def _engine(self, record: EngineReached | EngineLost) -> dict[str, str]:
        return {
            names.SCORER: self._bounds.admit(names.SCORER, record.scorer),
            names.PROVIDER: self._bounds.admit(names.PROVIDER, record.provider),
        }

    def _opened(self, record: StreamOpened) -> None:
        labels = {
            names.TRANSPORT: self._bounds.admit(names.TRANSPORT, record.transport),
            names.DIALECT: self._bounds.admit(names.DIALECT, record.dialect),
        }
        tenant = {}
        if self._tenants:
            tenant[names.TENANT] = record.tenant if record.tenant in self._tenants else OTHER
        note = _Stream(labels, tenant, observed=record.mode == "observe")
        pushed_out = self._open.open(record.stream_id, note)
        if pushed_out is not None:
            self._active.add(-1, pushed_out.labels)
        self._active.add(1, labels)

    def _intervened(self, record: InterventionApplied) -> None:
        stream = self._open.get(record.stream_id)
        kind = self._bounds.admit(names.KIND, record.kind)
        category = self._bounds.admit(names.CATEGORY, record.category)
        self._interventions.add(
            1,
            {
                names.KIND: kind,
                names.CATEGORY: category,
                names.SEVERITY: record.severity,
                names.ENFORCED: record.enforced,
                **(stream.tenant if stream else {}),
            },
        )
        if record.enforced:
            self._delay.record(record.time_held_s, {names.KIND: kind})
        if record.enforced and record.resources:
            country = next((r.country for r in record.resources if r.country), names.INTERNATIONAL)
            country = self._bounds.admit(names.COUNTRY, country)
            self._referrals.add(1, {names.COUNTRY: country, names.CATEGORY: category})

    def _failed(self, record: ScoringFailed) -> None:
        stance = {names.STANCE: self._bounds.admit(names.STANCE, record.stance)}
        self._failures.add(1, {names.REASON: self._bounds.admit(names.REASON, record.reason), **stance})
        if record.reason not in OVERLOADS:
            return
        self._overload_chars.add(record.chars, stance)
        stream = self._open.get(record.stream_id)
        if stream is not None and record.stance not in stream.overloads:
            stream.overloads.add(record.stance)
            self._overload_streams.add(1, stance)

    def _ended(self, record: StreamEnded) -> None:
        stream = self._open.close(record.stream_id)
        if stream is None:
            labels, tenant = {names.TRANSPORT: names.UNKNOWN, names.DIALECT: names.UNKNOWN}, {}
        else:
            labels, tenant = stream.labels, stream.tenant
            self._active.add(-1, labels)
        labels = labels | {names.OUTCOME: self._bounds.admit(names.OUTCOME, record.outcome)}
        self._streams.add(1, labels | tenant)
        self._stream_duration.record(record.duration_s, labels)
        self._chars.add(record.arrived_chars, {names.STATE: names.ARRIVED})
        self._chars.add(record.released_chars, {names.STATE: names.RELEASED})
        self._chars.add(record.withheld_chars, {names.STATE: names.WITHHELD})
        self._chars.add(record.inserted_chars, {names.STATE: names.INSERTED})
        # In enforce mode exposure is zero by invariant 2; a number there is a fault that should be seen.
        if record.exposure_chars or (stream is not None and stream.observed):
            self._exposure.record(record.exposure_chars)
