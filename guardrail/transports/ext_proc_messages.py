"""What messages of Envoy's external processor look like; what they mean is ``ext_proc``'s business."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2 as modes
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from guardrail.errors import InputError
from guardrail.transports.outputs import Intervention, StreamClosed

_FDS = modes.ProcessingMode.FULL_DUPLEX_STREAMED


def check_modes(config: pb.ProtocolConfiguration) -> None:
    """Refuse an Envoy that would not let us hold text back, rather than guard nothing silently.

    Raises:
        InputError: another body mode than FULL_DUPLEX_STREAMED.
    """
    if config.response_body_mode != _FDS or config.request_body_mode != _FDS:
        raise InputError(
            "ext_proc processing_mode",
            "request_body_mode and response_body_mode must be FULL_DUPLEX_STREAMED; "
            "`guardrail envoy-config` prints a configuration that works",
        )


def pairs(headers: base_pb2.HeaderMap) -> list[tuple[str, str]]:
    """Names and values; Envoy fills ``raw_value``, older ones ``value``."""
    return [
        (header.key, header.raw_value.decode("latin-1") if header.raw_value else header.value)
        for header in headers.headers
    ]


def guarded_header(mode: str, policy: str) -> base_pb2.HeaderValueOption:
    """The header that says an answer is guarded, and how."""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key="x-guardrail", raw_value=f"mode={mode}; policy={policy}".encode()),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def streamed(body: bytes, *, end: bool) -> pb.BodyResponse:
    """A body chunk of FULL_DUPLEX_STREAMED."""
    response = pb.BodyResponse()
    # Set where it stands: handing over one message to the next copies it three times.
    chunk = response.response.body_mutation.streamed_response
    chunk.body, chunk.end_of_stream = body, end
    return response


def metadata(intervention: Intervention) -> dict[str, object]:
    """What a client may want to show about an insert; rides on our own chunks only."""
    return {
        "kind": intervention.kind,
        "category": intervention.category,
        "severity": intervention.severity,
        "at": intervention.at,
        "withheld": intervention.withheld,
        "resources": [resource.id for resource in intervention.resources],
    }


def summarise(response: pb.ProcessingResponse, closed: StreamClosed) -> None:
    """Put counts into Envoy's dynamic metadata, for access logs."""
    summary = response.dynamic_metadata.get_or_create_struct("guardrail")
    summary.update(
        {
            "outcome": closed.outcome,
            "arrived": closed.arrived,
            "released": closed.released,
            "withheld": closed.withheld,
            "inserted": closed.inserted,
            "unscanned": sum(closed.unscanned.values()),
        },
    )
