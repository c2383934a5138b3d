"""The asyncio client: a channel to one sidecar, and the calls it offers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from types import TracebackType
from typing import Any, Self, Unpack
from weakref import WeakSet

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from guardrail._pb import guardrail_pb2_grpc as pb_grpc
from guardrail.client import requests
from guardrail.client.events import Score, score
from guardrail.client.failures import UnavailableError, failure
from guardrail.client.requests import Conversation, OpeningOptions
from guardrail.client.stream import GuardStream
from guardrail.client.text import Notice, guarded

# What a readiness watch waits after a refused connection: long enough not to spin, short beside a model load.
_RETRY_S = 0.1


class GuardClient:
    """Speaks to one sidecar; safe to share between the tasks of one event loop.

    Example::

        async with GuardClient("unix:///run/guardrail.sock") as client:
            async for text in client.guard_text(model_output, conversation=[("user", prompt)]):
                print(text, end="")

    Args:
        target: gRPC target of the sidecar, "localhost:50051" or "unix:///path".
        credentials: for TLS; None speaks plaintext, fit for loopback and unix sockets only, as the
            channel carries the conversation.
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
        self._target, self._credentials, self._options = target, credentials, options
        self._open_timeout_s = open_timeout_s
        self._channel: Any = None
        self._streams: WeakSet[GuardStream] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every call and close the channel; the next call would open a new one."""
        for stream in list(self._streams):
            stream.cancel()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def guard(
        self,
        conversation: Conversation = (),
        *,
        timeout_s: float | None = None,
        **options: Unpack[OpeningOptions],
    ) -> GuardStream:
        """A guarded stream, for one answer or for several lanes of one.

        Example::

            async with client.guard([("user", prompt)], locale="de-AT") as stream:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(send_to(stream))  # stream.send(...), then stream.end()
                    async for event in stream:
                        ...

        Args:
            conversation: the turns before the answer, oldest first, as (role, text).
            timeout_s: for the whole stream; None for none.
            options: see ``OpeningOptions``.

        Raises:
            InputError: a role or the mode is unknown, or, on entering the block, an option is refused.
            UnavailableError: on entering the block: the sidecar does not answer.
            OverloadedError: on entering the block: the sidecar takes no more streams.
        """
        opening = requests.opening(conversation, **options)
        stream = GuardStream(
            lambda: self._stub().Guard(timeout=timeout_s), opening, open_timeout_s=self._open_timeout_s
        )
        self._streams.add(stream)
        return stream

    def guard_text(
        self,
        source: AsyncIterable[str],
        conversation: Conversation = (),
        *,
        lane: str = "",
        on_event: Notice | None = None,
        timeout_s: float | None = None,
        **options: Unpack[OpeningOptions],
    ) -> AsyncGenerator[str, None]:
        """Yield what the user may see of ``source``, in step with it.

        Once an intervention ends the answer, ``source`` is closed at its next item or while it waits.
        When ``source`` raises, what it said before is yielded first, then its error is raised. Iterate in
        ``contextlib.aclosing`` where leaving the loop early must free everything before going on;
        otherwise the event loop frees it right after.

        Example::

            async for text in client.guard_text(model_output, [("user", prompt)]):
                print(text, end="")

        Args:
            source: the model's text, cut anywhere.
            conversation: the turns before the answer, oldest first, as (role, text).
            lane: the lane's name, for records.
            on_event: told of every event of the stream, before its text is yielded.
            timeout_s: for the whole stream; None for none.
            options: see ``OpeningOptions``.

        Raises:
            GuardrailError: as ``guard``, when the first item is asked for; or the stream failed.
        """
        stream = self.guard(conversation, timeout_s=timeout_s, **options)
        return guarded(source, stream, lane=lane, on_event=on_event)

    async def score(
        self,
        text: str,
        *,
        role: str = "assistant",
        conversation: Conversation = (),
        tokens: bool = False,
        timeout_s: float = 30.0,
    ) -> Score:
        """Score ``text`` as a guarded stream would have seen it.

        Example::

            score = await client.score("Nice to meet you", role="user")
            print(score.flagged, score.max)

        Args:
            text: what was said.
            role: who said it.
            conversation: the turns before it, oldest first, as (role, text).
            tokens: also return every token's scores.
            timeout_s: for the call.

        Raises:
            InputError: a role is unknown, or the text too long.
            OverloadedError: refused at the door; may be repeated later.
            ScoringError: it could not be scored.
            UnavailableError: no answer in time.
        """
        request = requests.scoring(text, role, conversation, tokens=tokens)
        try:
            return score(await self._stub().Score(request, timeout=timeout_s))
        except grpc.aio.AioRpcError as error:
            raise failure(error.code(), error.details()) from error

    async def wait_ready(self, *, timeout_s: float = 60.0, service: str = "readiness") -> None:
        """Wait until the sidecar says it serves.

        Example::

            await client.wait_ready(timeout_s=30)

        Raises:
            UnavailableError: it did not within ``timeout_s``.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if await self._watch_ready(service):
                        return
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError as error:
            raise UnavailableError(f"not ready within {timeout_s:g} s") from error

    async def _watch_ready(self, service: str) -> bool:
        """Whether the sidecar came to serve before the watch broke off."""
        call = health_pb2_grpc.HealthStub(self._open_channel()).Watch(
            health_pb2.HealthCheckRequest(service=service), wait_for_ready=True
        )
        try:
            async for response in call:
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    return True
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise failure(error.code(), error.details()) from error
        finally:
            call.cancel()
        return False

    def _stub(self) -> Any:
        return pb_grpc.GuardrailServiceStub(self._open_channel())

    def _open_channel(self) -> Any:
        # Opened with the first call: a channel belongs to the event loop that is running then.
        if self._channel is None:
            self._channel = (
                grpc.aio.insecure_channel(self._target, self._options)
                if self._credentials is None
                else grpc.aio.secure_channel(self._target, self._credentials, self._options)
            )
        return self._channel
