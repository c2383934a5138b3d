from __future__ import annotations

import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import pytest

from guardrail.errors import ConfigError
from guardrail.telemetry import export
from guardrail.telemetry.setup import telemetry

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}


def otlp_grpc_works():
    try:
        importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    except ImportError:
        return False
    return True


@pytest.mark.parametrize(
    ("environ", "metrics", "traces"),
    [
        ({}, [], []),
        (ENDPOINT, ["otlp"], ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "  "}, [], []),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m:4317"}, ["otlp"], []),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:4317"}, [], ["otlp"]),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, ["otlp"], []),
        (ENDPOINT | {"OTEL_METRICS_EXPORTER": "console"}, ["console"], ["otlp"]),
        ({"OTEL_METRICS_EXPORTER": " otlp, console ,otlp"}, ["otlp", "console"], []),
        ({"OTEL_METRICS_EXPORTER": ""}, [], []),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, [], []),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, ["otlp"], ["otlp"]),
    ],
)
def test_what_the_environment_asks_for(environ, metrics, traces):
    assert export.chosen_exporters(environ, "METRICS") == metrics
    assert export.chosen_exporters(environ, "TRACES") == traces


def test_without_an_endpoint_nothing_is_built_imported_or_started(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    threads = threading.enumerate()

    assert export.meter_provider({}, "1") is None
    assert export.tracer_provider({}, "1") is None
    assert set(threading.enumerate()) <= set(threads)


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, "OTEL_METRICS_EXPORTER"),
        ({"OTEL_METRICS_EXPORTER": "otlp,"}, "OTEL_METRICS_EXPORTER"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "udp"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "x"}, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"),
    ],
)
def test_what_is_not_there_stops_the_start(environ, variable):
    with pytest.raises(ConfigError) as caught:
        export.meter_provider(environ, "1")

    assert (caught.value.source, caught.value.key) == ("environment", variable)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ModuleNotFoundError("gone"), "needs the distribution opentelemetry-exporter-otlp-proto-http"),
        (
            ImportError("cannot import name", name="common_pb2"),
            "--force-reinstall --no-deps opentelemetry-proto",
        ),
    ],
)
def test_an_exporter_that_cannot_be_imported_says_what_to_do(monkeypatch, raised, said):
    def import_module(name):
        raise raised

    monkeypatch.setattr(importlib, "import_module", import_module)

    with pytest.raises(ConfigError, match=said):
        export.tracer_provider(ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "1")


def test_an_exporter_that_dislikes_its_settings_stops_the_start(monkeypatch):
    class Picky:
        def __init__(self):
            raise ValueError("could not convert string to float: 'soon'")

    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(OTLPSpanExporter=Picky))

    with pytest.raises(ConfigError, match="soon"):
        export.tracer_provider(ENDPOINT, "1")


class TestResource:
    def test_the_service_is_named(self, monkeypatch):
        monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
        monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)

        attributes = export.resource("1.2").attributes

        assert (attributes["service.name"], attributes["service.version"]) == ("guardrail", "1.2")

    def test_the_operator_may_name_it(self, monkeypatch):
        monkeypatch.setenv("OTEL_SERVICE_NAME", "chat-guardrail")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod")

        attributes = export.resource("1.2").attributes

        assert attributes["service.name"] == "chat-guardrail"
        assert attributes["deployment.environment"] == "prod"


def test_console_leaves_standard_output_alone(capfd, whole_stream):
    told = telemetry({"OTEL_METRICS_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "console"})
    for record in whole_stream:
        told.record(record)
    told.shutdown()

    output = capfd.readouterr()
    assert output.out == ""
    assert "guardrail.referrals" in output.err
    assert "guardrail.intervention" in output.err


@pytest.mark.skipif(
    not otlp_grpc_works(),
    reason="the OTLP exporter cannot be imported: xds-protos overwrote opentelemetry-proto",
)
class TestCollector:
    @pytest.fixture
    def collector(self):
        """A gRPC server that takes OTLP requests as bytes."""
        requests = {}

        class Service(grpc.GenericRpcHandler):
            def service(self, call):
                def export(request, context):
                    requests.setdefault(call.method.split("/")[-2].split(".")[-1], []).append(request)
                    return b""  # an empty response of either service

                return grpc.unary_unary_rpc_method_handler(export)

        server = grpc.server(ThreadPoolExecutor(2), handlers=[Service()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"http://127.0.0.1:{port}", requests
        server.stop(None).wait()

    def test_it_hears_metrics_and_traces(self, collector, whole_stream, monkeypatch):
        endpoint, requests = collector
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)  # the exporter reads the process's own

        told = telemetry(environ)
        for record in whole_stream:
            told.record(record)
        told.shutdown(timeout_s=30)

        assert requests.keys() == {"MetricsService", "TraceService"}
        assert b"guardrail.referrals" in b"".join(requests["MetricsService"])
        assert b"self_harm/redirect#2" in b"".join(requests["TraceService"])
        for request in (*requests["MetricsService"], *requests["TraceService"]):
            assert b"carry this alone" not in request
