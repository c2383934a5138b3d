"""Envoy's side of ext_proc in FULL_DUPLEX_STREAMED, without Envoy: says what a test tells it, keeps what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Self

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2 as modes
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as pb_grpc

from guardrail.transports.tasks import spawn

FDS = modes.ProcessingMode.FULL_DUPLEX_STREAMED
EVENT_STREAM = {":status": "200", "content-type": "text/event-stream"}
JSON = {":status": "200", "content-type": "application/json"}
POST = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json"}


def header_map(headers: Mapping[str, str]) -> base_pb2.HeaderMap:
    values = [base_pb2.HeaderValue(key=key, raw_value=value.encode()) for key, value in headers.items()]
    return base_pb2.HeaderMap(headers=values)


class FakeEnvoy:
    """One HTTP request, processed. Use it in ``async with``; leaving the block closes the stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = pb_grpc.ExternalProcessorStub(channel).Process()
        self._reader: asyncio.Task | None = None
        self._heard = asyncio.Event()
        self.responses: list[pb.ProcessingResponse] = []
        """All we were told, in order."""
        self.status: grpc.StatusCode | None = None
        """Set once the sidecar ended the stream."""
        self.details = ""

    async def __aenter__(self) -> Self:
        self._reader = spawn(self._read(), name="fake envoy")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                self.responses.append(response)
                self._heard.set()
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass
        self.status = await self._call.code()
        self.details = await self._call.details()
        self._heard.set()

    # -- saying ----------------------------------------------------------------------------------------

    async def say(self, **message: object) -> None:
        """One message; after the sidecar has left it goes nowhere, as Envoy's would."""
        try:
            await self._call.write(pb.ProcessingRequest(**message))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            assert self._call.done()

    async def request_headers(
        self, headers: Mapping[str, str] = POST, *, end: bool = False, request_mode=FDS, response_mode=FDS
    ) -> None:
        config = pb.ProtocolConfiguration(request_body_mode=request_mode, response_body_mode=response_mode)
        http = pb.HttpHeaders(headers=header_map(headers), end_of_stream=end)
        await self.say(request_headers=http, protocol_config=config)

    async def request_body(self, body: bytes, *, end: bool = False) -> None:
        await self.say(request_body=pb.HttpBody(body=body, end_of_stream=end))

    async def request(self, body: bytes, headers: Mapping[str, str] = POST) -> None:
        """A whole request."""
        await self.request_headers(headers)
        await self.request_body(body, end=True)

    async def response_headers(self, headers: Mapping[str, str] = EVENT_STREAM, *, end: bool = False) -> None:
        await self.say(response_headers=pb.HttpHeaders(headers=header_map(headers), end_of_stream=end))

    async def response_body(self, *pieces: bytes, end: bool = False) -> None:
        for piece in pieces:
            await self.say(response_body=pb.HttpBody(body=piece))
        if end:
            await self.say(response_body=pb.HttpBody(end_of_stream=True))

    async def response_trailers(self) -> None:
        await self.say(response_trailers=pb.HttpTrailers())

    async def close(self) -> None:
        """Nothing more will be said: the HTTP exchange is over."""
        await self._call.done_writing()

    # -- hearing ---------------------------------------------------------------------------------------

    async def until(self, condition) -> None:
        """Wait until what we heard meets ``condition``."""
        async with asyncio.timeout(30):
            while not condition():
                assert self.status is None, f"the stream ended: {self.status} {self.details}"
                self._heard.clear()
                await self._heard.wait()

    async def until_response_ends(self) -> None:
        await self.until(lambda: self.ended)

    async def until_closed(self) -> grpc.StatusCode:
        """Wait until the sidecar ended the stream; its status."""
        async with asyncio.timeout(30):
            await asyncio.wait([self._reader])
        return self.status

    def kinds(self) -> list[str]:
        """Which kinds of answers came, repeats folded into one."""
        kinds: list[str] = []
        for response in self.responses:
            kind = response.WhichOneof("response")
            if not kinds or kinds[-1] != kind:
                kinds.append(kind)
        return kinds

    def _streamed(self, kind: str) -> Iterable[pb.StreamedBodyResponse]:
        for response in self.responses:
            if response.WhichOneof("response") == kind:
                yield getattr(response, kind).response.body_mutation.streamed_response

    def chunks(self, kind: str = "response_body") -> list[bytes]:
        return [streamed.body for streamed in self._streamed(kind)]

    def body(self, kind: str = "response_body") -> bytes:
        """The body as the peer gets it."""
        return b"".join(self.chunks(kind))

    def ends(self, kind: str = "response_body") -> int:
        """How often ``end_of_stream`` was said; more than once breaks the protocol."""
        return sum(streamed.end_of_stream for streamed in self._streamed(kind))

    @property
    def ended(self) -> bool:
        """Whether the client's response is over."""
        return self.ends() > 0 or any(r.HasField("response_trailers") for r in self.responses)

    def one(self, kind: str) -> object:
        (found,) = [getattr(r, kind) for r in self.responses if r.WhichOneof("response") == kind]
        return found

    @property
    def summary(self) -> dict[str, object]:
        """What the sidecar left in Envoy's dynamic metadata."""
        (found,) = [r.dynamic_metadata for r in self.responses if r.HasField("dynamic_metadata")]
        return dict(found["guardrail"].items())
