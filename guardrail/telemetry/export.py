"""Where metrics and traces go, read from OpenTelemetry's own environment variables.

An operator who knows OpenTelemetry knows these already, so none are added:

* ``OTEL_SDK_DISABLED=true`` turns metrics and traces off.
* ``OTEL_EXPORTER_OTLP_ENDPOINT``, or the same per signal, names the collector. **Without one nothing is
  exported**: no connection, no background thread, no warning.
* ``OTEL_METRICS_EXPORTER`` and ``OTEL_TRACES_EXPORTER`` choose among ``otlp``, ``console`` and ``none``, comma
  separated. ``otlp`` asked for by name and without an endpoint means the standard's, localhost.
* ``OTEL_EXPORTER_OTLP_PROTOCOL``, or the same per signal: ``grpc``, which comes with this package, or
  ``http/protobuf`` or ``http/json``, where their exporters are installed.

The rest (headers, certificates, intervals, samplers, limits, resource attributes) the SDK and the exporters
read themselves. This file knows nothing of records. Exporters are imported only when one is wanted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from guardrail.errors import ConfigError

EXPORTERS: Final = ("otlp", "console", "none")

_ENVIRONMENT: Final = "environment"
_PROTOCOLS: Final = {
    "grpc": ("opentelemetry.exporter.otlp.proto.grpc", "opentelemetry-exporter-otlp-proto-grpc"),
    "http/protobuf": ("opentelemetry.exporter.otlp.proto.http", "opentelemetry-exporter-otlp-proto-http"),
    "http/json": ("opentelemetry.exporter.otlp.json.http", "opentelemetry-exporter-otlp-json-http"),
}
"""Protocol to the package it is imported from and the distribution that brings it."""

Signal = Literal["METRICS", "TRACES"]


def meter_provider(environ: Mapping[str, str], version: str) -> MeterProvider | None:
    """A meter provider that exports as ``environ`` says, or None if it says not to.

    Raises:
        ConfigError: a variable names an exporter or protocol that is not there.
    """
    exporters: list[MetricExporter] = []
    for name in chosen_exporters(environ, "METRICS"):
        if name == "console":
            # Standard output carries the "ready" line and perhaps the audit log.
            exporters.append(ConsoleMetricExporter(out=sys.stderr))
        else:
            exporters.append(_otlp(environ, "METRICS", "metric_exporter", "OTLPMetricExporter"))
    if not exporters:
        return None
    readers = [PeriodicExportingMetricReader(exporter) for exporter in exporters]
    return MeterProvider(readers, resource=resource(version), shutdown_on_exit=False)


def tracer_provider(environ: Mapping[str, str], version: str) -> TracerProvider | None:
    """A tracer provider that exports as ``environ`` says, or None if it says not to.

    Raises:
        ConfigError: a variable names an exporter or protocol that is not there.
    """
    exporters: list[SpanExporter] = []
    for name in chosen_exporters(environ, "TRACES"):
        if name == "console":
            exporters.append(ConsoleSpanExporter(out=sys.stderr))
        else:
            exporters.append(_otlp(environ, "TRACES", "trace_exporter", "OTLPSpanExporter"))
    if not exporters:
        return None
    provider = TracerProvider(resource=resource(version), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def resource(version: str) -> Resource:
    """Who is sending: the operator's service name and attributes, "guardrail" where none are given."""
    given = Resource.create({SERVICE_VERSION: version})
    if str(given.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return given.merge(Resource({SERVICE_NAME: "guardrail"}))
    return given


def chosen_exporters(environ: Mapping[str, str], signal: Signal) -> list[str]:
    """The exporters wanted for ``signal``, "none" left out.

    Raises:
        ConfigError: an exporter nobody knows.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    variable = f"OTEL_{signal}_EXPORTER"
    # An empty variable counts as unset: that is the standard's rule.
    chosen = environ.get(variable, "").strip() or ("otlp" if _endpoint(environ, signal) else "none")
    wanted = list(dict.fromkeys(part.strip().lower() for part in chosen.split(",")))
    for name in wanted:
        if name not in EXPORTERS:
            raise ConfigError(_ENVIRONMENT, variable, f"{name!r} is not one of {', '.join(EXPORTERS)}")
    return [name for name in wanted if name != "none"]


def _endpoint(environ: Mapping[str, str], signal: Signal) -> str:
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "").strip()
    return own or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()


def _otlp(environ: Mapping[str, str], signal: Signal, module: str, name: str) -> Any:
    own = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    variable = own if environ.get(own, "").strip() else "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = environ.get(variable, "").strip().lower() or "grpc"
    if protocol not in _PROTOCOLS:
        raise ConfigError(_ENVIRONMENT, variable, f"{protocol!r} is not one of {', '.join(_PROTOCOLS)}")
    package, distribution = _PROTOCOLS[protocol]
    try:
        exporter = getattr(importlib.import_module(f"{package}.{module}"), name)
    except ModuleNotFoundError as error:
        reason = f"{protocol!r} needs the distribution {distribution}, which is not installed"
        raise ConfigError(_ENVIRONMENT, variable, reason) from error
    except ImportError as error:
        # xds-protos brings an old copy of opentelemetry-proto's files; whichever was installed last is there
        # (grpc/grpc issue 42926). Raised here, because a collector that hears nothing is found out too late.
        reason = (
            f"{distribution} cannot be imported ({error.name}). If xds-protos overwrote the files of "
            "opentelemetry-proto: pip install --force-reinstall --no-deps opentelemetry-proto"
        )
        raise ConfigError(_ENVIRONMENT, variable, reason) from error
    try:
        return exporter()
    except ValueError as error:  # a timeout that is no number, a compression nobody knows
        raise ConfigError(_ENVIRONMENT, "OTEL_EXPORTER_OTLP_*", str(error)) from error
