"""``envoy.service.ext_proc.v3.ExternalProcessor``: Envoy's HTTP streams over the driver.

Protocol rules this file keeps (Envoy's external_processor.proto, FULL_DUPLEX_STREAMED):

* One gRPC stream is one HTTP request. Headers, body and trailers are answered in that order; body
  answers are ``streamed_response`` chunks, as many and as late as we like.
* A body that ends without trailers is ended by our chunk with ``end_of_stream``; with trailers it is
  ended by answering the trailers. ``end_of_stream`` sent before the upstream ended finishes the client's
  response properly and resets the upstream: that is how an intervention stops the model.
* There is no message timeout and no flow control in this mode: deadlines are the driver's, and while
  Envoy does not take our chunks we do not take its.
* ``immediate_response`` is never used: behind response headers it would tear the stream (invariant 5).

Requests are echoed as they come, so the model starts as early as without us; a copy is read for the
conversation. A request that cannot be read is the upstream's to refuse; should it answer all the same, the
answer is guarded without a conversation. What no dialect knows is echoed, and counted (invariant 7).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as pb_grpc

from guardrail import observer as records
from guardrail.errors import GuardrailError, InputError
from guardrail.transports import ext_proc_messages as messages
from guardrail.transports.driver import StreamDriver
from guardrail.transports.http_context import HttpContext, read_headers
from guardrail.transports.mailbox import Mailbox
from guardrail.transports.outputs import (
    Inserted,
    LaneClosed,
    Output,
    Released,
    StreamClosed,
    StreamOpening,
    Withheld,
)
from guardrail.transports.services import Services
from guardrail.transports.tasks import spawn
from guardrail.wire.dialect import (
    GuardedRequest,
    LaneFinished,
    LaneText,
    ResponseStream,
    Unscanned,
    WireEvent,
)
from guardrail.wire.negotiate import CHAT_COMPLETIONS, RequestParser, request_parser, response_stream

MAX_CHUNK_BYTES = 60 * 1024
"""Largest body chunk we send; Envoy recommends at most 64 KiB."""
MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Largest request body a copy is kept of; a longer one passes and its conversation is not read, which is
counted. Its answer is guarded like any other."""
MAX_WAITING_BYTES = 512 * 1024
"""Bytes of bodies that may wait for Envoy before we stop reading from it."""
_LINGER_S = 5.0  # for Envoy to close its side after our last answer
_CHARS_PER_TOKEN = 4  # rough, for usage that the upstream could no longer send

_UNREAD = GuardedRequest(
    (), stream=True, include_usage=False, unscanned={"request_too_large": MAX_REQUEST_BYTES}
)
"""What is known of a request whose body was not read."""
_log = logging.getLogger(__name__)


class ExtProcServicer(pb_grpc.ExternalProcessorServicer):  # type: ignore[misc]
    """Serves Envoy's ext_proc filter.

    Args:
        services: what every stream shares.
        wall_clock: seconds since the epoch, for the ``created`` field of chunks we have to invent.
    """

    def __init__(self, services: Services, *, wall_clock: Callable[[], float] | None = None) -> None:
        self._services = services
        self._wall_clock = wall_clock or time.time  # noqa: TID251 - the injected clock's default

    def attach(self, server: grpc.aio.Server) -> None:
        """Register with a server that has not started yet."""
        pb_grpc.add_ExternalProcessorServicer_to_server(self, server)

    async def Process(  # noqa: N802 - the protocol's name
        self,
        requests: AsyncIterator[pb.ProcessingRequest],
        context: grpc.aio.ServicerContext[pb.ProcessingRequest, pb.ProcessingResponse],
    ) -> None:
        """Process one HTTP request and its response."""
        http = _HttpStream(self._services, int(self._wall_clock()))
        reader = spawn(http.read(requests), name="ext_proc reader")
        try:
            async for response in http.responses():
                await context.write(response)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await reader
        except InputError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        finally:
            reader.cancel()
            await http.give_up()


@dataclass(slots=True)
class _Echo:
    """Bytes that passed without being read, for the record."""

    what: str
    size: int = 0


class _HttpStream:
    """One HTTP request and its response."""

    def __init__(self, services: Services, created: int) -> None:
        self._services = services
        self._created = created
        self._stream_id = secrets.token_hex(8)
        self._out: Mailbox[pb.ProcessingResponse | bytearray | BaseException | None] = Mailbox()
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._http: HttpContext | None = None
        self._parser: RequestParser | None = None
        self._request_body: bytearray | None = bytearray()
        self._request_bytes = 0
        self._request_ended = False
        self._opened = False
        self._request: GuardedRequest | None = None
        self._driver: StreamDriver | None = None
        self._wire: ResponseStream | None = None
        self._writer: asyncio.Task[None] | None = None
        self._echo = _Echo("unguarded_path")
        self._upstream_ended = False
        self._trailers = False
        self._response_done = False

    # -- towards Envoy -------------------------------------------------------------------------------

    async def responses(self) -> AsyncIterator[pb.ProcessingResponse]:
        """Our answers, in order, until the exchange is over."""
        while True:
            batch = await self._out.take()
            size = self._waiting_bytes
            for response in batch:
                if response is None:
                    return
                if isinstance(response, BaseException):
                    raise response
                if isinstance(response, bytearray):
                    body = messages.streamed(bytes(response), end=False)
                    yield pb.ProcessingResponse(response_body=body)
                else:
                    yield response
            self._waiting_bytes -= size
            if self._waiting_bytes < MAX_WAITING_BYTES:
                self._room.set()

    def _send(self, response: pb.ProcessingResponse | bytearray, size: int = 0) -> None:
        self._out.put(response)
        self._count(size)

    def _count(self, size: int) -> None:
        self._waiting_bytes += size
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            self._room.clear()

    def _send_body(self, body: bytes) -> None:
        """Send response bytes, in chunks Envoy likes.

        What still waits for Envoy is joined: a few large messages cost it and us less than many small ones.
        """
        tail = self._out.waiting[-1] if self._out.waiting else None
        if isinstance(tail, bytearray) and len(tail) + len(body) <= MAX_CHUNK_BYTES:
            tail += body
            self._count(len(body))
            return
        for start in range(0, len(body), MAX_CHUNK_BYTES):
            chunk = body[start : start + MAX_CHUNK_BYTES]
            self._send(bytearray(chunk), len(chunk))

    def _end_body(self, body: bytes, closed: StreamClosed | None = None) -> None:
        """Send the last response bytes and end the response with them."""
        rest = max(0, len(body) - MAX_CHUNK_BYTES)
        self._send_body(body[:rest])
        response = pb.ProcessingResponse(response_body=messages.streamed(body[rest:], end=True))
        if closed is not None:
            messages.summarise(response, closed)
        self._send(response, len(body) - rest)

    # -- from Envoy ------------------------------------------------------------------------------------

    async def read(self, requests: AsyncIterator[pb.ProcessingRequest]) -> None:
        """Take everything Envoy says, at the speed at which it takes our answers."""
        try:
            async for message in requests:
                await self._room.wait()
                await self._take(message)
        except InputError as error:
            self._out.put(error)
        except Exception as error:
            self._out.put(error)
            raise
        else:
            self._out.put(None)

    async def _take(self, message: pb.ProcessingRequest) -> None:
        if message.HasField("protocol_config"):
            messages.check_modes(message.protocol_config)
        match message.WhichOneof("request"):
            case "request_headers":
                self._take_request_headers(message.request_headers)
            case "request_body":
                await self._take_request_body(message.request_body)
            case "request_trailers":
                self._send(pb.ProcessingResponse(request_trailers=pb.TrailersResponse()))
                await self._open()
            case "response_headers":
                await self._take_response_headers(message.response_headers)
            case "response_body":
                await self._take_response_body(message.response_body)
            case "response_trailers":
                await self._take_response_trailers()
            case other:
                _log.warning("ext_proc message of unknown kind %s ignored", other)

    def _take_request_headers(self, headers: pb.HttpHeaders) -> None:
        self._http = http = read_headers(messages.pairs(headers.headers))
        self._parser = request_parser(http.method, http.path)
        remove = list(http.own_headers)
        if self._parser is not None:
            remove.append("accept-encoding")  # a compressed answer could not be read
        common = pb.CommonResponse(header_mutation=pb.HeaderMutation(remove_headers=remove))
        self._send(pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=common)))

    async def _take_request_body(self, body: pb.HttpBody) -> None:
        if self._request_ended:
            return  # a duplicate end
        self._request_ended = body.end_of_stream
        echo = messages.streamed(body.body, end=body.end_of_stream)
        self._send(pb.ProcessingResponse(request_body=echo), len(body.body))
        if self._parser is not None and not self._opened:
            self._request_bytes += len(body.body)
            if self._request_bytes > MAX_REQUEST_BYTES:
                self._request_body = None
            elif self._request_body is not None:
                self._request_body += body.body
        if body.end_of_stream:
            await self._open()

    async def _open(self) -> None:
        """The request is complete: open the guarded stream it asks for."""
        if self._opened or self._http is None or self._parser is None:
            return
        self._opened = True
        request = self._read_request(self._parser)
        opening = StreamOpening(
            self._stream_id,
            "ext_proc",
            CHAT_COMPLETIONS,
            request.conversation,
            locale=self._http.locale,
            tenant=self._http.tenant,
            mode=self._http.mode,
            lanes=request.choices,
            structured=request.structured,
            unscanned=request.unscanned,
        )
        try:
            self._driver = StreamDriver(opening, self._services)
        except InputError:  # an unknown mode asks for nothing: the policy's is in force
            self._driver = StreamDriver(replace(opening, mode=""), self._services)
        self._request = request
        await self._driver.start()

    def _read_request(self, parser: RequestParser) -> GuardedRequest:
        """What the request asks for; of one that cannot be read, only how much went unread."""
        body, self._request_body = self._request_body, None
        reason = "request_too_large"
        if body is not None:
            try:
                return parser(bytes(body))
            except InputError:
                reason = "malformed_request"
        unscanned = {reason: self._request_bytes}
        return GuardedRequest(conversation=(), stream=False, include_usage=False, unscanned=unscanned)

    async def _take_response_headers(self, headers: pb.HttpHeaders) -> None:
        await self._open()  # an upstream may answer before it has read the whole request
        values = {name.lower(): value for name, value in messages.pairs(headers.headers)}
        common = pb.CommonResponse()
        if self._driver is not None and self._request is not None:
            if values.get(":status") == "200" and not headers.end_of_stream:
                self._wire = response_stream(
                    self._request,
                    content_type=values.get("content-type", ""),
                    content_encoding=values.get("content-encoding", ""),
                    stream_id=self._stream_id,
                    created=self._created,
                    prompt_tokens=sum(len(t.text) for t in self._request.conversation) // _CHARS_PER_TOKEN,
                )
            if self._wire is None:
                self._echo = _Echo("unguarded_response")
                await self._driver.cancel("unguarded" if values.get(":status") == "200" else "upstream_error")
                self._driver = None
            else:
                option = messages.guarded_header(self._driver.mode, self._driver.policy_name)
                common.header_mutation.set_headers.append(option)
        self._send(pb.ProcessingResponse(response_headers=pb.HeadersResponse(response=common)))
        if self._wire is not None:
            self._writer = spawn(self._write_outputs(), name=f"ext_proc writer {self._stream_id}")

    async def _take_response_body(self, body: pb.HttpBody) -> None:
        if self._response_done:
            return  # late chunks of an upstream that is being reset, and duplicate ends
        if self._wire is None or self._driver is None:
            self._echo.size += len(body.body)
            if body.end_of_stream:
                self._end_body(body.body)
                self._finish_echo()
            else:
                self._send_body(body.body)
            return
        await self._forward(self._wire.feed(body.body))
        self._send_body(self._wire.drain())
        if body.end_of_stream:
            await self._end_upstream()

    async def _take_response_trailers(self) -> None:
        self._trailers = True
        if self._wire is None or self._driver is None:
            self._finish_echo()
            self._send(pb.ProcessingResponse(response_trailers=pb.TrailersResponse()))
        else:
            await self._end_upstream()

    async def _end_upstream(self) -> None:
        if self._upstream_ended or self._wire is None or self._driver is None:
            return
        self._upstream_ended = True
        await self._forward(self._wire.end())
        self._send_body(self._wire.drain())
        await self._driver.end()

    async def _forward(self, events: list[WireEvent]) -> None:
        """Tell the driver; the texts of a lane together, because where text is cut means nothing."""
        assert self._driver is not None
        texts: dict[str, list[str]] = {}
        for event in events:
            if isinstance(event, LaneText):
                texts.setdefault(event.lane, []).append(event.text)
                continue
            await self._forward_texts(texts)
            match event:
                case LaneFinished(lane=lane):
                    await self._driver.end_lane(lane)
                case Unscanned(what=what, chars=chars):
                    self._driver.note_unscanned(what, chars)
        await self._forward_texts(texts)

    async def _forward_texts(self, texts: dict[str, list[str]]) -> None:
        assert self._driver is not None
        for lane, pieces in texts.items():
            await self._driver.chunk(lane, "".join(pieces))
        texts.clear()

    # -- from the driver ---------------------------------------------------------------------------------

    async def _write_outputs(self) -> None:
        """Carry outputs to the client; a failure of ours ends the exchange instead of hanging it."""
        try:
            await self._render_outputs()
        except Exception as error:
            self._out.put(error)
            raise

    async def _render_outputs(self) -> None:
        """Turn the driver's outputs into bytes of the response, many at a time where they wait."""
        assert self._driver is not None
        async for outputs in self._driver.batches():
            body = b"".join([self._render(output) for output in outputs])
            closed = outputs[-1]
            if not isinstance(closed, StreamClosed):
                self._send_body(body)
                continue
            if closed.outcome not in {"completed", "intervened"}:
                # Ended by an error of ours: the client must not take what it has for the whole answer.
                raise GuardrailError(f"stream {self._stream_id} ended: {closed.outcome}")
            self._end_response(body, closed)
            return

    def _render(self, output: Output) -> bytes:
        wire = self._wire
        assert wire is not None
        match output:
            case Released(lane=lane, end=end):
                return wire.release(lane, end)
            case Inserted(lane=lane, intervention=intervention) if intervention.text:
                return wire.insert(lane, intervention.text, messages.metadata(intervention))
            case Withheld(lane=lane, end=end):
                return wire.withhold(lane, end)
            case LaneClosed(lane=lane, intervened=intervened, finish_reason=reason):
                return wire.close(lane, intervened=intervened, finish_reason=reason)
            case StreamClosed():
                return wire.finish()
            case _:
                return b""

    def _end_response(self, body: bytes, closed: StreamClosed) -> None:
        """Send the last bytes and end the response the way the upstream did, or before it."""
        self._response_done = True
        if self._trailers:
            self._send_body(body)
            last = pb.ProcessingResponse(response_trailers=pb.TrailersResponse())
            messages.summarise(last, closed)
            self._send(last)
        else:
            self._end_body(body, closed)
        if not self._upstream_ended:
            self._out.put(None)

    # -- the end -------------------------------------------------------------------------------------------

    def _finish_echo(self) -> None:
        self._response_done = True
        if self._echo.size:
            record = records.TextUnscanned(self._stream_id, self._echo.what, self._echo.size)
            self._services.observer.record(record)

    async def give_up(self) -> None:
        """The exchange is over, one way or another: free whatever is left."""
        if self._driver is not None:
            await self._driver.cancel("cancelled")
        if self._writer is not None:
            self._writer.cancel()
