"""Metrics, traces, audit log and process logs: everything the sidecar tells, from the records of ``observer``.

Telemetry sees records, not objects, and never user or model text (invariant 8). The application calls
``telemetry`` and ``configure_logging`` once at start, hands the ``Telemetry`` to the drivers as their observer,
calls ``reopen`` on SIGHUP and ``shutdown`` at the end.
"""

from __future__ import annotations

from guardrail.telemetry.audit import AuditLog
from guardrail.telemetry.composite import CompositeObserver
from guardrail.telemetry.logs import configure_logging
from guardrail.telemetry.metrics import MetricsObserver
from guardrail.telemetry.redaction import digest
from guardrail.telemetry.setup import Telemetry, telemetry
from guardrail.telemetry.tracing import TracingObserver

__all__ = [
    "AuditLog",
    "CompositeObserver",
    "MetricsObserver",
    "Telemetry",
    "TracingObserver",
    "configure_logging",
    "digest",
    "telemetry",
]
