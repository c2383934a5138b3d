"""Puts the observers of one process together, and takes them apart again.

``telemetry`` is what the application calls at start: it gets the environment and the operator's choices as
arguments and gives back one ``Telemetry``. Nothing global is set, in particular not OpenTelemetry's default
providers: two of these can live in one process, as they do in tests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from threading import Thread
from time import monotonic

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

from guardrail import __version__
from guardrail.observer import Observer, Record
from guardrail.telemetry import attributes as names
from guardrail.telemetry.audit import AuditLog, utc_now
from guardrail.telemetry.composite import CompositeObserver
from guardrail.telemetry.engine import EngineMetrics, WatchedEngine
from guardrail.telemetry.export import meter_provider, tracer_provider
from guardrail.telemetry.metrics import MetricsObserver
from guardrail.telemetry.tracing import TracingObserver

_log = logging.getLogger(__name__)


def telemetry(
    environ: Mapping[str, str],
    *,
    audit: str = "",
    tenants: Collection[str] = (),
    clock: Callable[[], datetime] = utc_now,
    also: Iterable[Observer] = (),
) -> Telemetry:
    """The telemetry of one process.

    Args:
        environ: where the ``OTEL_*`` variables are looked up.
        audit: path of the audit log, "-" for standard output, "" for none.
        tenants: tenants that may appear as a metric label.
        clock: the time of day for audit lines.
        also: further observers.

    Raises:
        ConfigError: the audit log cannot be written, or a variable asks for what is not there.
    """
    log = AuditLog(audit, clock=clock) if audit else None
    tracers = None
    try:
        # Traces before metrics: with nothing recorded yet they stop at once, where metrics would send first.
        tracers = tracer_provider(environ, __version__)
        meters = meter_provider(environ, __version__)
    except Exception:
        if tracers is not None:
            tracers.shutdown()
        if log is not None:
            log.close()
        raise
    return Telemetry(log=log, meters=meters, tracers=tracers, tenants=tenants, also=also)


class Telemetry:
    """The observer of a process and the life of what is behind it.

    Args:
        log: the audit log, if there is one.
        meters: where metrics go, or None for nowhere.
        tracers: where traces go, or None for nowhere.
        tenants: tenants that may appear as a metric label.
        also: further observers.
    """

    def __init__(
        self,
        *,
        log: AuditLog | None = None,
        meters: SdkMeterProvider | None = None,
        tracers: SdkTracerProvider | None = None,
        tenants: Collection[str] = (),
        also: Iterable[Observer] = (),
    ) -> None:
        self._log, self._meters, self._tracers = log, meters, tracers
        self._trace_spans = TracingObserver(tracers) if tracers is not None else None
        observers: list[Observer] = [log] if log is not None else []
        self._engines = EngineMetrics(meters) if meters is not None else None
        if meters is not None:
            observers.append(MetricsObserver(meters, tenants=tenants))
        if self._trace_spans is not None:
            observers.append(self._trace_spans)
        self._observer = CompositeObserver([*observers, *also])
        if meters is not None:
            _count_own_faults(meters, self._observer, log)

    def record(self, record: Record) -> None:
        """Hand ``record`` to metrics, traces, audit log and whoever else observes."""
        self._observer.record(record)

    def watch(self, engine: WatchedEngine) -> None:
        """Tell of ``engine``, too: how far it is behind, what its steps cost."""
        if self._engines is not None:
            self._engines.watch(engine)

    def reopen(self) -> None:
        """Open the audit log anew, after a rotation."""
        if self._log is not None:
            self._log.reopen()

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Send what is waiting, then stop; what a collector has not taken after ``timeout_s`` is given up.

        Blocks. Call it once, when no stream is left.
        """
        if self._trace_spans is not None:
            self._trace_spans.close()
        # In threads of their own and at the same time: neither provider keeps to a deadline while it sends.
        senders = [
            Thread(target=_stop, args=(provider,), name="guardrail-telemetry-stop", daemon=True)
            for provider in (self._tracers, self._meters)
            if provider is not None
        ]
        for sender in senders:
            sender.start()
        deadline = monotonic() + timeout_s
        for sender in senders:
            sender.join(max(0.0, deadline - monotonic()))
        if any(sender.is_alive() for sender in senders):
            _log.warning("telemetry was not sent completely: no answer within %s s", timeout_s)
        if self._log is not None:
            self._log.close()


def _stop(provider: SdkMeterProvider | SdkTracerProvider) -> None:
    try:
        provider.shutdown()
    except Exception as error:  # noqa: BLE001 - the SDK raises a bare Exception; going down goes on
        _log.warning("telemetry was not sent completely: %s", type(error).__name__)


def _count_own_faults(provider: MeterProvider, observer: CompositeObserver, log: AuditLog | None) -> None:
    """Export the counters that telemetry keeps about itself: a silent fallback has a counter."""
    meter = provider.get_meter(names.SCOPE_NAME, attributes=names.SCOPE_ATTRIBUTES)

    def observer_errors(_: CallbackOptions) -> list[Observation]:
        return [Observation(observer.errors)]

    def audit_errors(_: CallbackOptions) -> list[Observation]:
        return [Observation(log.errors if log is not None else 0)]

    meter.create_observable_counter(
        names.OBSERVER_ERRORS, [observer_errors], "{error}", "Records lost to an observer that raised"
    )
    meter.create_observable_counter(
        names.AUDIT_ERRORS, [audit_errors], "{error}", "Audit lines that could not be written"
    )
