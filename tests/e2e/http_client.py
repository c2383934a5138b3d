"""A raw HTTP/1.1 client: sees the bytes of a body, and whether its end came properly."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


@dataclass
class Response:
    """What came back; ``complete`` only if the body ended the way HTTP says."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    def json(self):
        return json.loads(self.body)


class Request:
    """One request on a connection of its own; the response is read as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.response = Response()

    async def head(self) -> Response:
        """Wait for the response's status and headers."""
        raw = await self._reader.readuntil(b"\r\n\r\n")
        status_line, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.response.status = int(status_line.split(" ")[1])
        for line in lines:
            name, _, value = line.partition(":")
            self.response.headers[name.strip().lower()] = value.strip()
        if self.response.status == 100:
            self.response.headers.clear()
            return await self.head()
        return self.response

    async def data(self) -> AsyncIterator[bytes]:
        """The body as it comes; ends quietly where the connection breaks."""
        try:
            async for piece in self._framed():
                self.response.body += piece
                yield piece
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        self.response.complete = True

    async def _framed(self) -> AsyncIterator[bytes]:
        headers = self.response.headers
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
            while (await self._reader.readuntil(b"\r\n")).strip():
                pass  # trailers
        elif "content-length" in headers:
            yield await self._reader.readexactly(int(headers["content-length"]))
        elif self.response.status not in (204, 304):
            while piece := await self._reader.read(65536):
                yield piece

    async def rest(self) -> Response:
        """Read to the end."""
        async for _ in self.data():
            pass
        return self.response

    async def until(self, text: bytes) -> Response:
        """Read until ``text`` has come; what is left can be read on."""
        async with asyncio.timeout(60):
            async for _ in self.data():
                if text in self.response.body:
                    break
        assert text in self.response.body, self.response.body
        return self.response

    def leave(self) -> None:
        """Be gone, without a word."""
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def send(
    address: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Request]:
    """Send a request, body included."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        lines = {"host": address, "content-type": "application/json", **(headers or {})}
        if (body or method == "POST") and "transfer-encoding" not in lines:
            lines.setdefault("content-length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        await writer.drain()
        yield Request(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def fetch(address: str, body: bytes = b"", **options) -> Response:
    """Send a request and read all of the response."""
    async with asyncio.timeout(60), send(address, body, **options) as request:
        await request.head()
        return await request.rest()


def ask(text: str = "Tell me about rivers.", **fields) -> bytes:
    """A chat request's body; streamed unless told otherwise."""
    payload = {
        "model": "scripted-1",
        "stream": True,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }
    return json.dumps(payload).encode()


def events(body: bytes) -> list:
    """The payloads of a stream as a client reads them; "[DONE]" stands as a string."""
    read = []
    for block in body.decode().replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:"))
        if data:
            read.append(data if data == "[DONE]" else json.loads(data))
    return read


def texts(body: bytes) -> dict[int, str]:
    """What a client shows, by choice."""
    shown: dict[int, str] = {}
    for payload in events(body):
        for choice in payload.get("choices", []) if isinstance(payload, dict) else []:
            shown[choice["index"]] = shown.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return shown


def flat(text: str) -> str:
    """What is read, whatever white space joins an insert to the text around it."""
    return " ".join(text.split())


def finishes(body: bytes) -> dict[int, list[str]]:
    """Every finish reason that came, by choice."""
    found: dict[int, list[str]] = {}
    for payload in events(body):
        for choice in payload.get("choices", []) if isinstance(payload, dict) else []:
            if choice.get("finish_reason"):
                found.setdefault(choice["index"], []).append(choice["finish_reason"])
    return found


async def hear(stream, said: list[str]) -> None:
    """Keep what the official client's stream says, up to where it ends or raises."""
    async for chunk in stream:
        if chunk.choices:
            said.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - kept even if it raises next
