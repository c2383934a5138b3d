"""From a gRPC status to this package's errors: one table for every call of every client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc

from guardrail.errors import GuardrailError, InputError, OverloadedError, ProtocolError, ScoringError


class UnavailableError(GuardrailError):
    """The sidecar could not be reached, is not ready, or did not answer in time."""


def _input_error(details: str) -> GuardrailError:
    where, separator, reason = details.partition(": ")
    return InputError(where, reason) if separator else InputError("request", details)


_ERRORS: Mapping[grpc.StatusCode, Callable[[str], GuardrailError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: _input_error,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.INTERNAL: ScoringError,
    grpc.StatusCode.UNIMPLEMENTED: ProtocolError,
    grpc.StatusCode.FAILED_PRECONDITION: ProtocolError,
    grpc.StatusCode.OUT_OF_RANGE: ProtocolError,
}


def failure(code: grpc.StatusCode, details: str | None) -> GuardrailError:
    """The error to raise for a call that ended with ``code``."""
    kind = _ERRORS.get(code, GuardrailError)
    return kind(details or f"the sidecar answered {code.name}")
