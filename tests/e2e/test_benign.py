"""Invariant 4 on real parts: a stream without an intervention arrives byte for byte, however it is cut."""

from __future__ import annotations

import asyncio
import json

import pytest

from guardrail.testing.upstream import (
    DONE,
    JSON,
    Answer,
    chat_body,
    chat_chunk,
    chat_stream,
    event,
    usage_chunk,
)
from tests.e2e.http_client import ask, fetch, send

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

TEXTS = ["Rivers ", "run to the s", "ea; some take ", "naïve détours", " 🙂🏞️ past 日本の川. ", "The end."]
PLAIN = b"".join(chat_stream(TEXTS, usage=True))


def bytewise(data: bytes, size: int = 1) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def crlf() -> bytes:
    return b"".join(chat_stream(TEXTS)).replace(b"\n", b"\r\n")


def usage_on_every_chunk() -> bytes:
    chunks = [
        chat_chunk(text, usage={"prompt_tokens": 5, "completion_tokens": n, "total_tokens": 5 + n})
        for n, text in enumerate(TEXTS)
    ]
    return b"".join([*chunks, chat_chunk(finish="stop"), DONE])


def interleaved() -> bytes:
    chunks = [chat_chunk(text, index=index) for text in TEXTS for index in (2, 0, 1)]
    return b"".join([*chunks, *(chat_chunk(index=i, finish="stop") for i in (1, 2, 0)), usage_chunk(), DONE])


def choices_together() -> bytes:
    def chunk(n: int, text: str) -> bytes:
        choices = [{"index": i, "delta": {"content": text * (i + n % 2)}} for i in range(3)]
        return event({"id": "x", "object": "chat.completion.chunk", "choices": choices})

    ends = [{"index": i, "delta": {}, "finish_reason": "length"} for i in range(3)]
    return b"".join([*(chunk(n, t) for n, t in enumerate(TEXTS)), event({"id": "x", "choices": ends}), DONE])


def logprobs() -> bytes:
    def tokens(text: str) -> dict:
        return {"logprobs": {"content": [{"token": text, "logprob": -0.25, "bytes": list(text.encode())}]}}

    return b"".join([*(chat_chunk(t, choice=tokens(t)) for t in TEXTS), chat_chunk(finish="stop"), DONE])


def tool_calls() -> bytes:
    def call(**function) -> dict:
        return {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}

    return b"".join(
        [
            chat_chunk(None, delta={"role": "assistant", "content": None}),
            chat_chunk("Let me look. "),
            chat_chunk(None, delta=call(name="look_up", arguments="")),
            chat_chunk(None, delta=call(arguments='{"river":')),
            chat_chunk(None, delta=call(arguments=' "Rhine"}')),
            chat_chunk(finish="tool_calls"),
            DONE,
        ],
    )


def unknown_fields() -> bytes:
    return b"".join(
        [
            event({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
            chat_chunk("", delta={"role": "assistant", "refusal": None}, obfuscation="aB3"),
            chat_chunk("Rivers ", service_tier="default", system_fingerprint="fp", x_vendor={"a": [1, 2.50, None]}),
            chat_chunk(None, delta={"reasoning_content": "thinking about rivers"}),
            event(' {"choices" : [ {"delta":{"content":"run\\u0020\\ud83d\\ude42 "},"index":0} ], "id":"x" }'),
            chat_chunk("on.", choice={"content_filter_results": {"hate": {"filtered": False}}}),
            chat_chunk(finish="stop"),
            DONE,
        ],
    )  # fmt: skip


def comments_and_fields() -> bytes:
    return b"".join(
        [
            b": connected\n\n",
            b"retry: 3000\nid: 1\nevent: message\n" + chat_chunk("Rivers "),
            b": ping\n\n: ping\n\n",
            b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"run on. "}}]}\n\n',
            b"data:"
            + json.dumps({"choices": [{"index": 0, "delta": {"content": "Yes."}}]}).encode()
            + b"\n\n",
            chat_chunk(finish="stop"),
            b": bye\n\n",
            DONE,
        ],
    )


STREAMS = {
    "an event a piece": chat_stream(TEXTS, usage=True),
    "one byte at a time": bytewise(PLAIN),
    "in sevens, through events and characters": bytewise(PLAIN, 7),
    "everything at once": [PLAIN],
    "carriage returns and newlines": bytewise(crlf(), 5),
    "carriage returns and newlines, at once": [crlf()],
    "carriage returns alone": bytewise(crlf().replace(b"\n", b""), 11),
    "comments, fields, data over lines": bytewise(comments_and_fields(), 9),
    "a byte order mark": [b"\xef\xbb\xbf" + PLAIN],
    "usage on every chunk": [usage_on_every_chunk()],
    "three choices interleaved": bytewise(interleaved(), 101),
    "three choices a chunk": bytewise(choices_together(), 64),
    "log probabilities": [logprobs()],
    "tool calls": bytewise(tool_calls(), 33),
    "unknown fields": bytewise(unknown_fields(), 50),
    "no [DONE]": chat_stream(TEXTS)[:-1],
    "no finish reason": chat_stream(TEXTS)[:-2],
    "no last newline": [PLAIN.rstrip(b"\n")],
    "cut in mid-event": [PLAIN[:-40]],
    "no JSON": [b"data: <html>hm</html>\n\n", *chat_stream(TEXTS)],
    "an error of the upstream's": [*chat_stream(TEXTS)[:3], event({"error": {"message": "out of memory"}})],
    "no text at all": [chat_chunk("", delta={"role": "assistant"}), chat_chunk(finish="stop"), DONE],
    "only [DONE]": [DONE],
    "one long word": [chat_chunk("riverrun" * 400), chat_chunk(finish="stop"), DONE],
    "a huge event": [chat_chunk("r", x_audio="A" * 1_500_000), chat_chunk(finish="stop"), DONE],
}


@pytest.mark.parametrize("pieces", STREAMS.values(), ids=STREAMS.keys())
async def test_a_benign_stream_arrives_byte_for_byte(stage, pieces):
    stage.upstream.answer = Answer(pieces)
    response = await fetch(stage.address, ask(stream_options={"include_usage": True}))
    assert response.status == 200
    assert response.headers["x-guardrail"] == "mode=enforce; policy=stage"
    assert response.body == b"".join(pieces)
    assert response.complete
    assert (await stage.ended()).outcome == "completed"
    assert stage.upstream.exchanges[0].outcome == "finished"


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_however_the_upstream_marks_the_end_of_its_body(stage, framing):
    stage.upstream.answer = Answer([PLAIN], framing=framing)
    response = await fetch(stage.address, ask())
    assert (response.body, response.complete) == (PLAIN, True)


async def test_text_that_was_watched_and_let_go_arrives_byte_for_byte(stage):
    """Held text is the upstream's own bytes, too."""
    pieces = chat_stream(["A murky ", "river. ", "It runs ", "on and ", "on to the sea."])
    stage.upstream.answer = Answer(pieces)
    assert (await fetch(stage.address, ask())).body == b"".join(pieces)


async def test_what_nobody_scored_is_said_to_be_so(stage):
    """Invariant 7: it passes, and is counted where it stood."""
    stage.upstream.answer = Answer([tool_calls()])
    await fetch(stage.address, ask())
    assert (await stage.ended()).unscanned == {"tool_calls": len('{"river": "Rhine"}')}


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_an_answer_without_streaming_arrives_byte_for_byte(stage, framing):
    body = chat_body(" ".join(TEXTS), "Another. ", vendor={"a": 1.50})
    stage.upstream.answer = Answer(bytewise(body, 100), headers=JSON, framing=framing)
    response = await fetch(stage.address, ask(stream=False, n=2))
    assert (response.status, response.body, response.complete) == (200, body, True)
    assert response.headers["content-type"] == "application/json"
    assert (await stage.ended()).lanes == 2


async def test_text_goes_out_while_the_model_still_speaks(stage):
    """Streaming stays streaming: what is cleared does not wait for the rest, not even its open word."""
    gate = asyncio.Event()
    first, second, *rest = chat_stream(["Rivers run to the sea.", " The end."])
    stage.upstream.answer = Answer([first, second, gate, *rest])
    async with send(stage.address, ask()) as request:
        await request.head()
        await request.until(b"Rivers run to the sea.")
        assert b"The end" not in request.response.body
        gate.set()
        response = await request.rest()
    assert response.body == b"".join([first, second, *rest])
