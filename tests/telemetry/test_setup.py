from __future__ import annotations

import json
import logging
import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from guardrail.errors import ConfigError
from guardrail.observer import InterventionApplied, StreamOpened
from guardrail.telemetry.setup import Telemetry, telemetry


class Notebook:
    def __init__(self):
        self.records = []

    def record(self, record):
        self.records.append(record)


class Sulking:
    def record(self, record):
        raise ValueError


def test_by_default_nothing_is_exported_and_everything_works(whole_stream):
    threads = threading.enumerate()
    told = telemetry({})
    for record in whole_stream:
        told.record(record)
    told.reopen()

    assert set(threading.enumerate()) <= set(threads)
    told.shutdown()


def test_one_record_reaches_all(metrics, trace_spans, tmp_path, clock, whole_stream):
    provider, exporter = trace_spans
    path = tmp_path / "audit.jsonl"
    notebook = Notebook()
    audited = telemetry({}, audit=str(path), clock=clock, also=[notebook])
    told = Telemetry(meters=metrics.provider, tracers=provider, also=[audited])
    for record in whole_stream:
        told.record(record)

    assert metrics.total("guardrail.streams") == 1
    assert len(exporter.get_finished_spans()) == 1
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["intervention", "stream"]
    assert notebook.records == whole_stream
    audited.shutdown()


def test_an_unwritable_audit_log_stops_the_start(tmp_path):
    with pytest.raises(ConfigError):
        telemetry({}, audit=str(tmp_path))


def test_a_failed_start_leaves_no_thread(tmp_path):
    threads = threading.enumerate()

    with pytest.raises(ConfigError):
        telemetry(
            {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "carrier_pigeon"},
            audit=str(tmp_path / "audit.jsonl"),
        )

    assert set(threading.enumerate()) <= set(threads)


def test_telemetry_counts_its_own_faults(metrics, make):
    from guardrail.telemetry.audit import AuditLog

    told = Telemetry(log=AuditLog("/dev/full"), meters=metrics.provider, also=[Sulking()])
    told.record(make(InterventionApplied))
    told.record(make(InterventionApplied))

    assert metrics.total("guardrail.audit.errors") == 2
    assert metrics.total("guardrail.observer.errors") == 2
    told.shutdown()


def test_shutdown_ends_open_trace_spans(trace_spans, make):
    provider, exporter = trace_spans
    told = Telemetry(tracers=provider)
    told.record(make(StreamOpened))
    told.shutdown()

    [span] = exporter.get_finished_spans()
    assert span.attributes["guardrail.outcome"] == "lost"


def test_shutdown_does_not_wait_for_a_collector_that_is_away(make, caplog):
    answer = threading.Event()

    class Away(SpanExporter):
        def export(self, spans):
            answer.wait()

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Away()))
    told = Telemetry(tracers=provider)
    told.record(make(StreamOpened))
    with caplog.at_level(logging.WARNING):
        told.shutdown(timeout_s=0.01)

    assert "not sent completely" in caplog.text  # it returned although nobody has answered
    answer.set()


def test_shutdown_survives_a_provider_that_raises(metrics, trace_spans, monkeypatch, caplog):
    def refuse():
        raise RuntimeError("quoting")

    monkeypatch.setattr(trace_spans[0], "shutdown", refuse)
    Telemetry(meters=metrics.provider, tracers=trace_spans[0]).shutdown()
    monkeypatch.undo()

    assert [record.getMessage() for record in caplog.records] == [
        "telemetry was not sent completely: RuntimeError"
    ]


def test_reopen_reaches_the_audit_log(tmp_path, make):
    path = tmp_path / "audit.jsonl"
    told = telemetry({}, audit=str(path))
    path.rename(tmp_path / "audit.1")
    told.reopen()
    told.record(make(InterventionApplied))
    told.shutdown()

    assert json.loads(path.read_text())["event"] == "intervention"


def test_tenants_are_passed_on(metrics, make):
    told = Telemetry(meters=metrics.provider, tenants=["acme"])
    told.record(make(StreamOpened))
    told.record(make(InterventionApplied))

    assert metrics.total("guardrail.interventions", tenant="acme") == 1
