"""Every name telemetry gives to the outside, in one place: instruments, attributes, trace spans, events.

Dashboards and queries depend on these words. OpenTelemetry's conventions for guardrails are a draft whose
names still move, so all names here are our own, under ``guardrail.``, and stand behind
``SCHEMA_VERSION``, which is sent as an attribute of the instrumentation scope and in every audit line: a
renaming changes this file and that number, and nothing else.

Instruments are named the OpenTelemetry way, dotted and without unit or ``_total``; an exporter to Prometheus
turns dots into underscores and appends both, so that ``guardrail.stream.duration`` with unit ``s`` reads
``guardrail_stream_duration_seconds`` and the counter ``guardrail.streams`` reads
``guardrail_streams_total``. Units in braces are annotations, which Prometheus leaves out.

This file knows names only; when something is counted is the observers' affair.
"""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = "1"
"""Raised with every change of a name below or in the audit lines; additions leave it as it is."""

SCOPE_NAME: Final = "guardrail"
SCOPE_ATTRIBUTES: Final = {"guardrail.schema.version": SCHEMA_VERSION}

# Instruments; in brackets the attributes each carries.

STREAMS: Final = "guardrail.streams"  # transport, dialect, outcome [tenant]
ACTIVE_STREAMS: Final = "guardrail.active.streams"  # transport, dialect
STREAM_DURATION: Final = "guardrail.stream.duration"  # transport, dialect, outcome
FINDINGS: Final = "guardrail.findings"  # role, category, severity
INTERVENTIONS: Final = "guardrail.interventions"  # kind, category, severity, enforced [tenant]
INTERVENTION_DELAY: Final = "guardrail.intervention.delay"  # kind
REFERRALS: Final = "guardrail.referrals"  # country, category
SCORING_FAILURES: Final = "guardrail.scoring.failures"  # reason, stance
SCORING_DURATION: Final = "guardrail.scoring.duration"
SCORED_TOKENS: Final = "guardrail.scored.tokens"
UNSCANNED_CHARS: Final = "guardrail.unscanned.chars"  # what
CHARS: Final = "guardrail.chars"  # state
EXPOSURE_CHARS: Final = "guardrail.exposure.chars"
OVERLOAD_STREAMS: Final = "guardrail.overload.streams"  # stance
OVERLOAD_CHARS: Final = "guardrail.overload.chars"  # stance
ENGINE_QUEUE: Final = "guardrail.engine.queue.tokens"  # pack
ENGINE_WAIT: Final = "guardrail.engine.wait"  # pack
ENGINE_OVERLOADED: Final = "guardrail.engine.overloaded"  # pack
ENGINE_REFUSALS: Final = "guardrail.engine.refusals"  # pack
ENGINE_STEP_DURATION: Final = "guardrail.engine.step.duration"  # pack
ENGINE_STEP_TOKENS: Final = "guardrail.engine.step.tokens"  # pack
ENGINES: Final = "guardrail.engines"  # scorer, provider
ENGINE_LOSSES: Final = "guardrail.engine.losses"  # reason
AUDIT_ERRORS: Final = "guardrail.audit.errors"
OBSERVER_ERRORS: Final = "guardrail.observer.errors"

# Attributes of metrics: short words, because each becomes a label name.

TRANSPORT: Final = "transport"
DIALECT: Final = "dialect"
OUTCOME: Final = "outcome"
TENANT: Final = "tenant"
ROLE: Final = "role"
CATEGORY: Final = "category"
SEVERITY: Final = "severity"
KIND: Final = "kind"
ENFORCED: Final = "enforced"
COUNTRY: Final = "country"
REASON: Final = "reason"
STANCE: Final = "stance"
WHAT: Final = "what"
SCORER: Final = "scorer"
PROVIDER: Final = "provider"
STATE: Final = "state"
PACK: Final = "pack"
VERSION: Final = "version"

ARRIVED: Final = "arrived"
RELEASED: Final = "released"
WITHHELD: Final = "withheld"
INSERTED: Final = "inserted"

INTERNATIONAL: Final = "international"
"""The country of a referral whose resource belongs to none."""
UNKNOWN: Final = "unknown"
"""Said of a stream whose opening was not seen."""

# The trace span of a stream, and the events on it.

STREAM_SPAN: Final = "guardrail.stream"
FINDING_EVENT: Final = "guardrail.finding"
INTERVENTION_EVENT: Final = "guardrail.intervention"
SCORING_FAILURE_EVENT: Final = "guardrail.scoring_failure"
UNSCANNED_EVENT: Final = "guardrail.unscanned"

SPAN_STREAM_ID: Final = "guardrail.stream.id"
SPAN_TRANSPORT: Final = "guardrail.transport"
SPAN_DIALECT: Final = "guardrail.dialect"
SPAN_TENANT: Final = "guardrail.tenant"
SPAN_POLICY: Final = "guardrail.policy"
SPAN_MODE: Final = "guardrail.mode"
SPAN_OUTCOME: Final = "guardrail.outcome"
SPAN_LANES: Final = "guardrail.lanes"
SPAN_FINDINGS: Final = "guardrail.findings"
SPAN_INTERVENTIONS: Final = "guardrail.interventions"
SPAN_ARRIVED_CHARS: Final = "guardrail.chars.arrived"
SPAN_RELEASED_CHARS: Final = "guardrail.chars.released"
SPAN_WITHHELD_CHARS: Final = "guardrail.chars.withheld"
SPAN_INSERTED_CHARS: Final = "guardrail.chars.inserted"
SPAN_UNSCANNED_CHARS: Final = "guardrail.chars.unscanned"
SPAN_EXPOSURE_CHARS: Final = "guardrail.chars.exposed"

EVENT_LANE: Final = "guardrail.lane"
EVENT_ROLE: Final = "guardrail.role"
EVENT_CATEGORY: Final = "guardrail.category"
EVENT_SEVERITY: Final = "guardrail.severity"
EVENT_SCORE: Final = "guardrail.score"
EVENT_START: Final = "guardrail.span.start"
EVENT_END: Final = "guardrail.span.end"
EVENT_KIND: Final = "guardrail.kind"
EVENT_AT: Final = "guardrail.at"
EVENT_WORDING: Final = "guardrail.wording"
EVENT_ENFORCED: Final = "guardrail.enforced"
EVENT_REASON: Final = "guardrail.reason"
EVENT_STANCE: Final = "guardrail.stance"
EVENT_WHAT: Final = "guardrail.what"
EVENT_CHARS: Final = "guardrail.chars"
