"""The blocking client: ``guard_text``, ``score`` and ``wait_ready`` for code without an event loop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from guardrail._pb import guardrail_pb2 as pb
from guardrail._pb import guardrail_pb2_grpc as pb_grpc
from guardrail.client import requests
from guardrail.client.events import Score, StopUpstream, Summary, event, score
from guardrail.client.failures import UnavailableError, failure
from guardrail.client.requests import Conversation, OpeningOptions
from guardrail.client.text import Notice, shown


class BlockingGuardClient:
    """Speaks to one sidecar; safe to share between threads.

    Example::

        with BlockingGuardClient("localhost:50051") as client:
            for text in client.guard_text(model_output, [("user", prompt)]):
                print(text, end="")

    Args:
        target: gRPC target of the sidecar, "localhost:50051" or "unix:///path".
        credentials: for TLS; None speaks plaintext, fit for loopback and unix sockets only.
        options: gRPC channel options.
        open_timeout_s: for a stream to be connected and opened.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] | None = None,
        open_timeout_s: float = 10.0,
    ) -> None:
        self._open_timeout_s = open_timeout_s
        self._channel: Any = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._stub: Any = pb_grpc.GuardrailServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every call and close the channel, for good."""
        self._channel.close()

    def guard_text(
        self,
        source: Iterable[str],
        conversation: Conversation = (),
        *,
        lane: str = "",
        on_event: Notice | None = None,
        timeout_s: float | None = None,
        **options: Unpack[OpeningOptions],
    ) -> Iterator[str]:
        """Yield what the user may see of ``source``, in step with it.

        ``source`` is read and closed by a thread of its own. Once an intervention ends the answer, or
        the loop is left, it is closed before its next item but one: a blocking read cannot be broken off.
        When it raises, what it said before is yielded first, then its error is raised.

        Args and errors: as ``GuardClient.guard_text``.
        """
        outgoing = _Outgoing(requests.opening(conversation, **options), source, lane)
        return self._guarded(outgoing, on_event, timeout_s)

    def score(
        self,
        text: str,
        *,
        role: str = "assistant",
        conversation: Conversation = (),
        tokens: bool = False,
        timeout_s: float = 30.0,
    ) -> Score:
        """Score ``text`` as a guarded stream would have seen it; see ``GuardClient.score``."""
        request = requests.scoring(text, role, conversation, tokens=tokens)
        try:
            return score(self._stub.Score(request, timeout=timeout_s))
        except grpc.RpcError as error:
            raise failure(error.code(), error.details()) from error

    def wait_ready(self, *, timeout_s: float = 60.0, service: str = "readiness") -> None:
        """Wait until the sidecar says it serves.

        Raises:
            UnavailableError: it did not within ``timeout_s``, or went away meanwhile.
        """
        request = health_pb2.HealthCheckRequest(service=service)
        call = health_pb2_grpc.HealthStub(self._channel).Watch(
            request, timeout=timeout_s, wait_for_ready=True
        )
        try:
            for response in call:
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    return
        except grpc.RpcError as error:
            raise failure(error.code(), error.details()) from error
        finally:
            call.cancel()
        raise UnavailableError("the sidecar stopped answering")

    def _guarded(
        self, outgoing: _Outgoing, on_event: Notice | None, timeout_s: float | None
    ) -> Iterator[str]:
        call = self._stub.Guard(iter(outgoing), timeout=timeout_s)
        opening_too_slow = threading.Timer(self._open_timeout_s, call.cancel)
        opening_too_slow.daemon = True
        opening_too_slow.start()
        try:
            for response in call:
                opening_too_slow.cancel()
                found = event(response)
                if found is None:
                    continue
                if isinstance(found, StopUpstream | Summary):
                    outgoing.stopped = True
                if on_event is not None:
                    on_event(found)
                if text := shown(found):
                    yield text
        except grpc.RpcError as error:
            raise failure(error.code(), error.details()) from error
        finally:
            outgoing.stopped = True
            opening_too_slow.cancel()
            call.cancel()
        if outgoing.error is not None:
            raise outgoing.error


class _Outgoing:
    """What is sent, one message at a time; gRPC iterates over it in a thread of its own."""

    def __init__(self, opening: pb.GuardRequest, source: Iterable[str], lane: str) -> None:
        self._opening, self._source, self._lane = opening, source, lane
        self.stopped = False
        self.error: Exception | None = None
        """What the source raised."""

    def __iter__(self) -> Iterator[pb.GuardRequest]:
        yield self._opening
        source = iter(self._source)
        try:
            for text in source:
                if self.stopped:
                    return
                yield from requests.chunks(text, self._lane)
        except Exception as error:  # noqa: BLE001 - whatever the application's source raises is handed back
            self.error = error
        finally:
            if (close := getattr(source, "close", None)) is not None:
                close()
        yield requests.end()
