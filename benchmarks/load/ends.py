"""Both ends of a path in one cheap process: the LLM server behind it and the clients in front of it.

Plain sockets, one thread, pre-rendered events, one write each; bytes are kept as they come and looked at
afterwards. Because it holds both ends it can keep a *window*: a stream has at most so many events under
way, as a model has that writes its next token after the last one. Without a window TCP buffers take
hundreds of events at once, and a path then carries few large messages instead of many small ones.

It prints ``ready PORT`` of its server, then reads one ``Load`` a line as JSON and answers with what came
of it, one line each.
"""

from __future__ import annotations

import heapq
import json
import re
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load import script, stream_log

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb"river (\d+)\.")
_END = b"0\r\n\r\n"
_READ_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Load:
    """What to do."""

    address: str
    """HOST:PORT clients connect to."""
    tokens: int
    streams: int
    rounds: int = 1
    """Answers asked for on each connection, one after the other."""
    window: int = 0
    """Events a stream may have under way; 0: as many as the sockets take."""
    pace_s: float = 0.0
    """Seconds from token to token, the first one a pace behind the request; 0: no pace."""
    stagger_s: float = 0.0
    """Seconds from the start of one stream to that of the next."""
    limit_s: float = 120.0


@dataclass(slots=True, eq=False)
class _Client:
    """One stream as its client sees it."""

    number: int
    peer: socket.socket
    starts_at: float
    log: list[stream_log.Answer] = field(default_factory=list)
    came: int = 0
    """Events of this answer that came, for the window."""
    tail: bytes = b""
    server: _Server | None = None
    """The connection its answer is written on."""
    done: bool = False


@dataclass(slots=True, eq=False)
class _Server:
    """One connection to the server: at most one answer at a time."""

    peer: socket.socket
    read: bytearray = field(default_factory=bytearray)
    client: _Client | None = None
    """Whom the answer is for; None between answers."""
    at: int = 0
    """The next piece to send."""
    rest: memoryview | None = None
    """What a full socket has not taken of a piece."""
    began: float = 0.0
    queued: bool = False


class Ends:
    """The server, and the clients of one load after the other."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ready: deque[_Server] = deque()
        self._due: list[tuple[float, int, _Server]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port = int(self._listener.getsockname()[1])
        self._load = Load("", 0, 0)
        self._clients: list[_Client] = []
        self._pieces: list[bytes] = []

    def run(self, load: Load) -> list[_Client]:
        """Ask and answer until all answers have come whole.

        Raises:
            ConnectionError: a client was cut off.
            TimeoutError: it took longer than ``limit_s``.
        """
        self._load = load
        self._ready.clear()
        self._due.clear()
        events = script.events(load.tokens)
        self._pieces = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
        self._pieces[0] = _HEAD + self._pieces[0]
        self._pieces[-1] += _END
        began = time.perf_counter()
        host, _, port = load.address.rpartition(":")
        self._clients = [
            _Client(number, _connect(host, int(port)), began + number * load.stagger_s)
            for number in range(load.streams)
        ]
        waiting = list(reversed(self._clients))
        while not all(client.done for client in self._clients):
            now = time.perf_counter()
            if now - began > load.limit_s:
                raise TimeoutError(f"not done after {load.limit_s:.0f} s")
            while waiting and waiting[-1].starts_at <= now:
                client = waiting.pop()
                self._selector.register(client.peer, selectors.EVENT_READ, client)
                self._ask(client)
            while self._due and self._due[0][0] <= now:
                self._queue(heapq.heappop(self._due)[2])
            for _ in range(len(self._ready)):
                self._send(self._ready.popleft())
            self._wait(waiting[-1].starts_at if waiting else began + load.limit_s)
        return self._clients

    def close(self) -> None:
        """Stop serving."""
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # sockets, all of them
        self._selector.close()

    def _wait(self, until: float) -> None:
        """Take what the sockets have."""
        if self._due:
            until = min(until, self._due[0][0])
        patience_s = 0.0 if self._ready else max(0.0, until - time.perf_counter())
        for key, mask in self._selector.select(patience_s):
            match key.data:
                case None:
                    self._accept()
                case _Client() as client:
                    self._take_answer(client)
                case _Server() as server if mask & selectors.EVENT_WRITE:
                    self._selector.modify(server.peer, selectors.EVENT_READ, server)
                    self._queue(server)
                case _Server() as server:
                    self._take_request(server)

    # -- the clients ---------------------------------------------------------------------------------

    def _ask(self, client: _Client) -> None:
        client.came, client.tail, client.server = 0, b"", None
        client.log.append(stream_log.Answer(time.perf_counter()))
        client.peer.sendall(script.request(self._load.address, client.number))

    def _take_answer(self, client: _Client) -> None:
        data = client.peer.recv(_READ_BYTES)
        answer = client.log[-1]
        if not data:
            raise ConnectionError(f"cut off after {answer.size} bytes: {answer.raw()[-200:]!r}")
        answer.pieces.append((time.perf_counter(), data))
        text = client.tail + data
        client.came += text.count(b"\n\n")
        client.tail = text[-1:] if text[-2:] != b"\n\n" else b""
        if (data if len(data) >= len(_END) else answer.raw()[-len(_END) :]).endswith(_END):
            if len(client.log) < self._load.rounds:
                self._ask(client)
            else:
                client.done = True
                self._selector.unregister(client.peer)
                client.peer.close()
        elif self._load.window and client.server is not None and not client.server.queued:
            self._queue(client.server)

    # -- the server ----------------------------------------------------------------------------------

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(peer, selectors.EVENT_READ, _Server(peer))

    def _take_request(self, server: _Server) -> None:
        try:
            data = server.peer.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._drop(server)
            return
        server.read += data
        head, blank, body = bytes(server.read).partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not blank or len(body) < int(length[1] if length else 0):
            return
        server.read.clear()
        named = _STREAM.search(body)
        if named is None:  # somebody asks for something else, a health check perhaps
            server.peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        server.client = self._clients[int(named[1])]
        server.client.server = server
        server.at, server.began = 0, time.perf_counter()
        self._queue(server)

    def _queue(self, server: _Server) -> None:
        if not server.queued and server.client is not None:
            server.queued = True
            self._ready.append(server)

    def _send(self, server: _Server) -> None:
        server.queued = False
        client = server.client
        if client is None:
            return
        if self._load.window and server.at - client.came >= self._load.window:
            return  # what comes to the client queues it again
        piece = server.rest or memoryview(self._pieces[server.at])
        try:
            sent = server.peer.send(piece)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(server)
            return
        if sent < len(piece):
            server.rest = piece[sent:]
            self._selector.modify(server.peer, selectors.EVENT_READ | selectors.EVENT_WRITE, server)
            return
        server.rest = None
        server.at += 1
        if server.at == len(self._pieces):
            server.client = client.server = None
        elif self._load.pace_s and server.at < len(self._pieces) - 2:  # the finish follows at once
            due = server.began + server.at * self._load.pace_s
            heapq.heappush(self._due, (due, id(server), server))
        else:
            self._queue(server)

    def _drop(self, server: _Server) -> None:
        self._selector.unregister(server.peer)
        server.peer.close()
        server.client = None


def _connect(host: str, port: int) -> socket.socket:
    peer = socket.create_connection((host, port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def _serve() -> None:
    ends = Ends()
    print(f"ready {ends.port}", flush=True)
    for line in sys.stdin:
        load = Load(**json.loads(line))
        before_s = time.process_time()
        try:
            clients = ends.run(load)
            cpu_s = time.process_time() - before_s
            answers = [answer for client in clients for answer in client.log]
            told: dict[str, Any] = stream_log.summary(
                answers, script.events(load.tokens), paced=load.pace_s > 0
            )
            told["cpu_s"] = cpu_s
        except (OSError, TimeoutError) as error:
            told = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(told), flush=True)
            return
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _serve()
