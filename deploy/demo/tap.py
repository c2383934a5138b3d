"""A byte tap between Envoy and the real LLM server: it changes nothing and keeps what the model's server said.

The demo compares the bytes that left the upstream with the bytes the client got for the same request, so
the two columns are one answer seen on both sides of the sidecar, not two answers.
"""

from __future__ import annotations

import asyncio
import contextlib

import h11


class Tap:
    """Relays TCP connections to ``host:port`` and keeps the bytes that came back."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._seen = bytearray()
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        """Listen on a free loopback port; the port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no longer and cut what is still open."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.close()

    def forget(self) -> None:
        """Begin a new request."""
        self._seen.clear()

    def body(self) -> bytes:
        """The body of the response seen since ``forget``, transfer coding taken off."""
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("host", "tap")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(bytes(self._seen))
        body = bytearray()
        while isinstance(
            event := connection.next_event(), (h11.InformationalResponse, h11.Response, h11.Data)
        ):
            if isinstance(event, h11.Data):
                body += event.data
        return bytes(body)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
        ends = {writer, up_writer}
        self._open |= ends
        try:
            await asyncio.gather(
                self._copy(reader, up_writer, keep=False),
                self._copy(up_reader, writer, keep=True),
            )
        finally:
            self._open -= ends

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, keep: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if keep:
                    self._seen += data
                sink.write(data)
                await sink.drain()
        sink.close()
