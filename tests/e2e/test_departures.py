"""Whoever leaves, and when: what is held is freed, and nobody takes a broken answer for a whole one."""

from __future__ import annotations

import asyncio
import itertools

import openai
import pytest

from guardrail.testing.upstream import Answer, chat_body, chat_chunk, chat_stream
from tests.e2e.http_client import ask, fetch, flat, hear, send, texts
from tests.e2e.stage import REDIRECT, REPLACE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


def endless(text: str = " on"):
    for n in itertools.count():
        yield chat_chunk(f"{text} {n}")
        yield 0.002


# -- the client ----------------------------------------------------------------------------------------


async def test_a_client_that_leaves_in_mid_stream_stops_the_upstream(stage):
    stage.upstream.answer = Answer(endless())
    async with send(stage.address, ask()) as request:
        await request.head()
        await request.until(b"on 20")
        request.leave()
    assert (await stage.upstream.exchanged()).outcome == "broken"
    assert (await stage.ended()).outcome == "cancelled"
    await eventually(lambda: stage.scorer.open_lanes == 0)


async def test_a_client_that_leaves_while_its_prompt_is_scored(stage):
    stage.scorer.delay_s = lambda: 20.0
    stage.upstream.answer = Answer(endless())
    async with send(stage.address, ask()) as request:
        await eventually(lambda: stage.scorer.open_lanes > 0)
        request.leave()
    assert (await stage.upstream.exchanged()).outcome == "broken"
    assert (await stage.ended()).outcome == "cancelled"


async def test_a_client_that_leaves_while_text_is_held(stage):
    stage.upstream.answer = Answer(
        [*(chat_chunk(text) for text in ("A", " murky", " murky")), asyncio.Event()]
    )
    async with send(stage.address, ask()) as request:
        await request.head()
        await request.until(b'"A')
        assert b"murky" not in request.response.body
        request.leave()
    assert (await stage.upstream.exchanged()).outcome == "broken"
    ended = await stage.ended()
    assert (ended.outcome, ended.withheld_chars > 0) == ("cancelled", True)


async def test_a_slow_client_gets_all_of_it(stage):
    """More than every buffer on the way, to a client that does not read: nothing is lost, all in order."""
    padding = "x" * 2000
    pieces = [chat_chunk(f" {n}", choice={"padding": padding}) for n in range(3000)]
    stage.upstream.answer = Answer([*pieces, chat_chunk(finish="stop")])
    async with send(stage.address, ask()) as request:
        await request.head()
        await asyncio.sleep(1.0)
        response = await request.rest()
    assert response.complete
    assert texts(response.body) == {0: "".join(f" {n}" for n in range(3000))}


# -- the upstream --------------------------------------------------------------------------------------


async def test_an_upstream_that_dies_in_mid_stream_breaks_the_answer(stage):
    stage.upstream.answer = Answer([chat_chunk("Rivers run."), 0.5], dies=True)
    response = await fetch(stage.address, ask())
    assert stage.upstream.exchanges[0].outcome == "died"
    assert not response.complete
    assert b"[DONE]" not in response.body
    await stage.ended()


async def test_the_openai_client_hears_of_it(stage):
    stage.upstream.answer = Answer([chat_chunk("Rivers run."), 0.5], dies=True)
    url = f"http://{stage.address}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        messages = [{"role": "user", "content": "Hi."}]
        stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
        said = []
        with pytest.raises(Exception, match=r"(?i)peer closed|incomplete|connection"):
            await hear(stream, said)
    assert said == ["Rivers run."]


async def test_an_upstream_that_dies_does_not_free_what_was_held(stage):
    stage.upstream.answer = Answer([chat_chunk("A river. A murky"), chat_chunk(" murky"), 0.5], dies=True)
    response = await fetch(stage.address, ask())
    assert not response.complete
    assert b"murky" not in response.body


async def test_a_whole_answer_that_breaks_off_is_not_finished_by_us(stage):
    body = chat_body("Rivers run.")
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    stage.upstream.answer = Answer([body[:-20], 0.5], headers=headers, framing="length", dies=True)
    response = await fetch(stage.address, ask(stream=False))
    assert not response.complete
    assert response.body == b""


# -- all at once ---------------------------------------------------------------------------------------


async def test_many_streams_at_a_time_do_not_meet(stage):
    """64 streams with their own words and fates, slowed down so that all of them are open together."""
    count = 64

    def answer(exchange):
        n = int(exchange.headers["x-number"])
        middle = [
            " You sound sad today.",
            " Then stab him.",
            " It is wide.",
            " So murky, so murky, so still.",
        ]
        texts = [f"River {n} is long.", middle[n % 4], *(f" {n}-{i}" for i in range(10)), " The end."]
        return Answer([piece for chunk in chat_stream(texts) for piece in (chunk, 0.02)])

    def expected(n: int) -> str:
        tail = "".join(f" {n}-{i}" for i in range(10)) + " The end."
        middle = [
            f" You sound sad today. {REDIRECT}{tail}",
            f" Then… {REPLACE}",
            f" It is wide.{tail}",
            f" So murky, so murky, so still.{tail}",
        ]
        return f"River {n} is long." + middle[n % 4]

    stage.upstream.answer = answer
    async with asyncio.timeout(60):
        responses = await asyncio.gather(
            *(fetch(stage.address, ask(f"River {n}?"), headers={"x-number": str(n)}) for n in range(count))
        )
    for n, response in enumerate(responses):
        assert flat(texts(response.body)[0]) == expected(n)
        assert response.complete
        assert response.body.endswith(b"data: [DONE]\n\n")
