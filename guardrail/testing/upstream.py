"""``ScriptedUpstream``: an OpenAI-compatible server that says what a test tells it, and how it is treated.

It speaks HTTP/1.1, one exchange a connection. An ``Answer`` is a script: bytes, pauses and gates in any
cut, framed as a test wants, finished properly or broken off. An ``Exchange`` is the record: the request
as it came, and whether the peer left before the answer was finished, which is how "the upstream was
stopped" is proven.

Example::

    async with ScriptedUpstream() as upstream:
        upstream.answer = Answer(chat_stream(["Hello ", "there."]))
        ...  # point a client, or a proxy under test, at upstream.url
        assert upstream.exchanges[0].outcome == "finished"
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

Piece = bytes | float | asyncio.Event
"""A step of a script: bytes to send, seconds to pause, or a gate to wait at until the test opens it."""
Outcome = Literal["pending", "finished", "broken", "died"]

MAX_HEAD_BYTES = 64 * 1024
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}
ENVELOPE = {"id": "chatcmpl-7", "created": 1_700_000_000, "model": "scripted-1"}
"""What the chunks made here say of themselves, besides their ``object``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer."""

    pieces: Iterable[Piece]
    """What to send, in order; a generator may go on for ever. Each ``bytes`` is written by itself."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: dict(EVENT_STREAM))
    framing: Literal["chunked", "length", "close"] = "chunked"
    """How the body's end is marked. "length" needs all pieces to be bytes, unless a length is a header."""
    dies: bool = False
    """The connection is cut after the last piece, without the body's end."""
    trailers: Mapping[str, str] = field(default_factory=dict)
    """Sent after a chunked body."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and what became of its answer."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""
    sent: int = 0
    """Bytes of the answer's body written so far."""
    outcome: Outcome = "pending"
    """"finished": all was sent; "broken": the peer left or reset before that; "died": as scripted."""

    def json(self) -> Any:
        """The request's body, parsed."""
        return json.loads(self.body)


class ScriptedUpstream:
    """A server that answers by script; use it as an async context manager.

    Args:
        answer: what every request gets, or a function of the request; may be changed at any time.
        host: address to listen on; the port is a free one.
    """

    def __init__(
        self,
        answer: Answer | Callable[[Exchange], Answer] | None = None,
        *,
        host: str = "127.0.0.1",
    ) -> None:
        self.answer = answer
        self.exchanges: list[Exchange] = []
        """Every request so far, oldest first; recorded once its body is whole."""
        self._host = host
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._one_over = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0, limit=MAX_HEAD_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Its root, without a slash at the end."""
        return f"http://{self._host}:{self.port}"

    async def exchanged(self, count: int = 1, *, timeout_s: float = 30.0) -> Exchange:
        """Wait until ``count`` answers are over, one way or another; the last of them.

        Raises:
            TimeoutError: they were not.
        """
        async with asyncio.timeout(timeout_s):
            while len(over := [e for e in self.exchanges if e.outcome != "pending"]) < count:
                self._one_over.clear()
                await self._one_over.wait()
        return over[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # With no buffer of its own, a write that returned has left this process.
        writer.transport.set_write_buffer_limits(0)
        self._connections.add(writer)
        try:
            exchange = await _read_request(reader)
            if exchange is not None:
                self.exchanges.append(exchange)
                await self._reply(exchange, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the peer left while it was still asking, or the test is over
        finally:
            self._connections.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _reply(
        self, exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answer = self.answer(exchange) if callable(self.answer) else self.answer
        if answer is None:
            answer = Answer([b'{"error":{"message":"no script"}}'], 404, JSON)
        async with asyncio.TaskGroup() as tasks:
            # The peer has said all it had to say: anything more is its leaving.
            leaving = tasks.create_task(_until_gone(reader))
            try:
                exchange.outcome = await _send(answer, exchange, writer, leaving)
            except ConnectionError:
                exchange.outcome = "broken"
            except BaseException:
                exchange.outcome = "broken"
                raise
            finally:
                leaving.cancel()
                self._one_over.set()
        if exchange.outcome == "died":
            writer.transport.abort()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(4096):
            pass


async def _read_request(reader: asyncio.StreamReader) -> Exchange | None:
    head = await reader.readuntil(b"\r\n\r\n")
    request_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = request_line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (h.partition(":") for h in lines)}
    exchange = Exchange(method, path, headers)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = bytearray()
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        while (await reader.readuntil(b"\r\n")).strip():
            pass  # trailers of the request
        exchange.body = bytes(body)
    else:
        exchange.body = await reader.readexactly(int(headers.get("content-length", "0")))
    return exchange


async def _send(
    answer: Answer, exchange: Exchange, writer: asyncio.StreamWriter, leaving: asyncio.Task[None]
) -> Outcome:
    pieces = answer.pieces
    headers = {"connection": "close", **answer.headers}
    if answer.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    elif answer.framing == "length" and "content-length" not in headers:
        pieces = list(pieces)
        headers["content-length"] = str(sum(len(piece) for piece in pieces if isinstance(piece, bytes)))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{head}\r\n".encode("latin-1"))
    await writer.drain()
    for piece in pieces:
        if isinstance(piece, bytes):
            if not piece:
                continue  # an empty chunk would be the end of the body
            chunked = answer.framing == "chunked"
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
            exchange.sent += len(piece)
            await asyncio.sleep(0)  # a script without pauses must hear of a peer that leaves, too
        else:
            await _pause(piece, leaving)
        if leaving.done():
            return "broken"
    if answer.dies:
        return "died"
    if answer.framing == "chunked":
        trailers = "".join(f"{name}: {value}\r\n" for name, value in answer.trailers.items())
        writer.write(b"0\r\n" + trailers.encode("latin-1") + b"\r\n")
    await writer.drain()
    return "finished"


async def _pause(piece: float | asyncio.Event, leaving: asyncio.Task[None]) -> None:
    """Wait as the script says, but no longer than the peer does."""
    if isinstance(piece, asyncio.Event):
        async with asyncio.TaskGroup() as tasks:
            gate = tasks.create_task(piece.wait())
            await asyncio.wait({gate, leaving}, return_when=asyncio.FIRST_COMPLETED)
            gate.cancel()
    else:
        await asyncio.wait({leaving}, timeout=piece)


# -- bytes of the chat-completions dialect ---------------------------------------------------------------


def event(payload: object, newline: str = "\n") -> bytes:
    """One server-sent event; a string stands for itself, anything else is written as JSON."""
    data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return f"data: {data}{newline}{newline}".encode()


DONE = event("[DONE]")


def chat_chunk(
    text: str | None = None,
    *,
    index: int = 0,
    finish: str | None = None,
    delta: Mapping[str, Any] | None = None,
    choice: Mapping[str, Any] | None = None,
    newline: str = "\n",
    **fields: object,
) -> bytes:
    """One chunk of a streamed answer with one choice.

    Args:
        text: its ``delta.content``; None leaves it out.
        index: which choice.
        finish: its ``finish_reason``.
        delta: further fields of the delta.
        choice: further fields of the choice.
        newline: line end of the event.
        fields: further fields of the chunk.
    """
    said = {**(delta or {}), **({} if text is None else {"content": text})}
    one = {"index": index, "delta": said, "finish_reason": finish, **(choice or {})}
    return event({**ENVELOPE, "object": "chat.completion.chunk", "choices": [one], **fields}, newline)


def usage_chunk(prompt_tokens: int = 5, completion_tokens: int = 7) -> bytes:
    """The last chunk of a stream whose client asked for usage."""
    total = prompt_tokens + completion_tokens
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": total,
    }
    return event({**ENVELOPE, "object": "chat.completion.chunk", "choices": [], "usage": usage})


def chat_stream(texts: Iterable[str], *, index: int = 0, usage: bool = False) -> Sequence[bytes]:
    """A whole streamed answer, one event a piece: the role, the texts, the end."""
    return [
        chat_chunk("", index=index, delta={"role": "assistant"}),
        *(chat_chunk(text, index=index) for text in texts),
        chat_chunk(index=index, finish="stop"),
        *([usage_chunk()] if usage else []),
        DONE,
    ]


def chat_body(*texts: str, **fields: object) -> bytes:
    """A whole answer without streaming: one choice a text."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    payload = {**ENVELOPE, "object": "chat.completion", "choices": choices, "usage": usage, **fields}
    return json.dumps(payload, ensure_ascii=False).encode()
