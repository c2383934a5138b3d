from __future__ import annotations

from opentelemetry.sdk.metrics.export import Histogram, Sum

from guardrail.observer import StreamOpened
from guardrail.telemetry import attributes as names
from guardrail.telemetry.setup import Telemetry

PROMETHEUS_NAMES = {
    "guardrail_streams_total",
    "guardrail_active_streams",
    "guardrail_stream_duration_seconds",
    "guardrail_findings_total",
    "guardrail_interventions_total",
    "guardrail_intervention_delay_seconds",
    "guardrail_referrals_total",
    "guardrail_scoring_failures_total",
    "guardrail_scoring_duration_seconds",
    "guardrail_scored_tokens_total",
    "guardrail_unscanned_chars_total",
    "guardrail_chars_total",
    "guardrail_exposure_chars",
    "guardrail_overload_streams_total",
    "guardrail_overload_chars_total",
    "guardrail_engine_queue_tokens",
    "guardrail_engine_wait_seconds",
    "guardrail_engine_overloaded",
    "guardrail_engine_refusals_total",
    "guardrail_engine_step_duration_seconds",
    "guardrail_engine_step_tokens",
    "guardrail_engines",
    "guardrail_engine_losses_total",
    "guardrail_audit_errors_total",
    "guardrail_observer_errors_total",
}


def prometheus_name(metric) -> str:
    """The name by OpenTelemetry's rules of compatibility with Prometheus."""
    name = metric.name.replace(".", "_")
    name += {"s": "_seconds"}.get(metric.unit, "")
    assert metric.unit == "s" or (metric.unit.startswith("{") and metric.unit.endswith("}"))
    return name + ("_total" if isinstance(metric.data, Sum) and metric.data.is_monotonic else "")


def test_names_in_prometheus_are_the_documented_ones(metrics, make, whole_stream, engine):
    telemetry = Telemetry(meters=metrics.provider)
    telemetry.watch(engine)
    engine.runner.on_step(0.01, 5)
    for record in [make(StreamOpened, mode="observe"), *whole_stream[1:]]:
        telemetry.record(record)

    exported = {prometheus_name(metric) for metric in metrics.instruments().values()}

    assert exported == PROMETHEUS_NAMES


def test_every_instrument_says_what_it_counts(metrics, whole_stream, engine):
    telemetry = Telemetry(meters=metrics.provider)
    telemetry.watch(engine)
    engine.runner.on_step(0.01, 5)
    for record in whole_stream:
        telemetry.record(record)

    for metric in metrics.instruments().values():
        assert metric.description, metric.name
        if isinstance(metric.data, Histogram):
            assert metric.unit == "s" or metric.name.endswith((".chars", ".tokens"))


def test_the_schema_version_travels_with_the_scope(metrics, whole_stream):
    telemetry = Telemetry(meters=metrics.provider)
    for record in whole_stream:
        telemetry.record(record)

    data = metrics.reader.get_metrics_data()
    scopes = [s.scope for r in data.resource_metrics for s in r.scope_metrics]

    assert [scope.attributes["guardrail.schema.version"] for scope in scopes] == [names.SCHEMA_VERSION]
