"""Streams as upstreams send them, cut as networks cut them, and a driver that decides by schedule."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict

from guardrail.wire.dialect import LaneFinished, LaneText, ResponseStream, Unscanned, WireEvent


def sse(*payloads: object, newline: str = "\n") -> bytes:
    """Events with these payloads; a string stands for itself."""
    texts = (p if isinstance(p, str) else json.dumps(p, ensure_ascii=False) for p in payloads)
    return "".join(f"data: {text}{newline}{newline}" for text in texts).encode()


def chunk(*choices: dict, **fields: object) -> dict:
    envelope = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1700000000, "model": "m-1"}
    return {**envelope, "system_fingerprint": "fp_1", **fields, "choices": list(choices)}


def choice(text: str | None = None, *, index: int = 0, finish: str | None = None, **delta: object) -> dict:
    content = {} if text is None else {"content": text}
    return {"index": index, "delta": {**delta, **content}, "logprobs": None, "finish_reason": finish}


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def payloads(out: bytes) -> list:
    """What a client reads: parsed events, ``[DONE]`` as a string. Fails on anything out of shape."""
    text = out.decode().replace("\r\n", "\n").replace("\r", "\n")
    assert not text or text.endswith("\n\n"), text[-40:]
    read = []
    for block in text.split("\n\n"):
        data = "\n".join(line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:"))
        if data:
            read.append(data if data == "[DONE]" else json.loads(data))
    return read


def texts(out: bytes) -> dict[int, str]:
    """What a client shows, by choice."""
    read: dict[int, str] = defaultdict(str)
    for payload in payloads(out):
        for one in payload["choices"] if isinstance(payload, dict) and "choices" in payload else []:
            read[one["index"]] += one.get("delta", {}).get("content") or ""
    return {index: text for index, text in read.items() if text}


class Schedule:
    """A driver: keeps account of what lanes said, and tells the stream what a test decides."""

    def __init__(self, stream: ResponseStream) -> None:
        self.stream = stream
        self.out = bytearray()
        self.arrived: dict[str, str] = defaultdict(str)
        self.released: dict[str, int] = defaultdict(int)
        self.finished: list[str] = []
        self.closed: set[str] = set()
        self.unscanned: dict[str, int] = defaultdict(int)

    def feed(self, *data: bytes) -> Schedule:
        for piece in data:
            self._hear(self.stream.feed(piece))
            self.out += self.stream.drain()
        return self

    def end(self) -> Schedule:
        self._hear(self.stream.end())
        self.out += self.stream.drain()
        return self

    def _hear(self, said: list[WireEvent]) -> None:
        for event in said:
            match event:
                case LaneText(lane, text):
                    assert text
                    assert lane not in self.finished
                    self.arrived[lane] += text
                case LaneFinished(lane):
                    assert lane not in self.finished
                    self.finished.append(lane)
                    self.arrived[lane] += ""
                case Unscanned(what, chars):
                    assert chars > 0
                    self.unscanned[what] += chars

    def release(self, lane: str, end: int) -> Schedule:
        self.released[lane] = max(self.released[lane], min(end, len(self.arrived[lane])))
        self.out += self.stream.release(lane, end)
        return self

    def insert(self, lane: str, text: str, **metadata: object) -> Schedule:
        self.out += self.stream.insert(lane, text, metadata)
        return self

    def withhold(self, lane: str, end: int) -> Schedule:
        self.released[lane] = max(self.released[lane], min(end, len(self.arrived[lane])))
        self.out += self.stream.withhold(lane, end)
        return self

    def close(self, lane: str, *, intervened: bool = False, finish_reason: str = "") -> Schedule:
        self.closed.add(lane)
        self.out += self.stream.close(lane, intervened=intervened, finish_reason=finish_reason)
        return self

    def clear(self) -> Schedule:
        """Release all that arrived and close what finished, in arrival order."""
        for lane, text in list(self.arrived.items()):
            if lane not in self.closed:
                self.release(lane, len(text))
        for lane in self.finished:
            if lane not in self.closed:
                self.close(lane)
        return self

    def finish(self) -> bytes:
        self.out += self.stream.finish()
        assert self.stream.finish() == b""
        return bytes(self.out)
