from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest

from guardrail._pb import guardrail_pb2 as pb
from guardrail.client import (
    GuardClient,
    Intervention,
    Opened,
    Released,
    StopUpstream,
    Summary,
    UnavailableError,
)
from guardrail.errors import OverloadedError, ScoringError

REPLACED = pb.GuardResponse(
    intervention=pb.Intervention(kind=pb.INTERVENTION_KIND_REPLACE, text=" Instead.", at=3, enforced=True)
)
OBSERVED = pb.GuardResponse(
    intervention=pb.Intervention(kind=pb.INTERVENTION_KIND_REPLACE, text=" Instead.", at=3, enforced=False)
)
STOP = pb.GuardResponse(stop_upstream=pb.StopUpstream())


@pytest.fixture
async def client(sidecar):
    async with GuardClient(sidecar.target) as client:
        yield client


class Source:
    """A model that talks: pieces, then silence, an end or an error."""

    def __init__(self, *pieces, then=None, forever=False):
        self.pieces, self.then, self.forever = pieces, then, forever
        self.closed = asyncio.Event()

    async def __aiter__(self):
        try:
            for piece in self.pieces:
                yield piece
            if isinstance(self.then, Exception):
                raise self.then
            if self.then == "silence":
                await asyncio.Event().wait()
            while self.forever:
                yield "x"
        finally:
            self.closed.set()


async def test_text_goes_through_in_order(client):
    source = Source("one ", "", "two ", "three")
    assert [text async for text in client.guard_text(source, [("user", "hi")])] == ["one ", "two ", "three"]
    assert source.closed.is_set()


async def test_events_are_told_before_their_text(client):
    seen = []
    async for text in client.guard_text(Source("one"), on_event=seen.append):
        assert seen[-1] == Released("", text, 3)
    assert [type(event) for event in seen] == [Opened, Released, Summary]


async def test_a_waiting_source_is_closed_when_the_upstream_is_to_stop(client, sidecar, answers):
    sidecar.guard = answers.then_stop(answers.released("one", 3), REPLACED, STOP, answers.summary)
    source = Source("one risky", then="silence")
    assert [text async for text in client.guard_text(source)] == ["one", " Instead."]
    assert source.closed.is_set()


async def test_a_talking_source_is_closed_when_the_upstream_is_to_stop(client, sidecar):
    async def guard(sidecar, context):
        await context.read()
        await context.write(pb.GuardResponse(opened=pb.Opened()))
        for _ in range(50):
            await context.read()
        for response in (REPLACED, STOP, pb.GuardResponse(summary=pb.Summary())):
            await context.write(response)
        while await context.read() is not grpc.aio.EOF:  # as our sidecar does
            pass

    sidecar.guard = guard
    source = Source(forever=True)
    assert [text async for text in client.guard_text(source)] == [" Instead."]
    assert source.closed.is_set()


async def test_a_sidecar_that_ends_abruptly_after_its_summary_is_no_error(client, sidecar, answers):
    sidecar.guard = answers.then_stop(REPLACED, answers.summary)
    for _ in range(20):
        assert [text async for text in client.guard_text(Source(forever=True))] == [" Instead."]


async def test_what_is_only_observed_is_not_shown(client, sidecar, answers):
    sidecar.guard = answers.then_stop(OBSERVED, answers.released("one", 3), answers.summary)
    seen = []
    assert [text async for text in client.guard_text(Source("one"), on_event=seen.append)] == ["one"]
    assert [event.enforced for event in seen if isinstance(event, Intervention)] == [False]


async def test_breaking_out_frees_stream_and_source(client, sidecar):
    source = Source("one", then="silence")
    async with aclosing(client.guard_text(source)) as texts:
        async for _ in texts:
            break
    assert source.closed.is_set()
    await asyncio.wait_for(sidecar.gone.wait(), 30)


async def test_breaking_out_without_aclosing_frees_them_soon(client, sidecar):
    source = Source("one", then="silence")
    async for _ in client.guard_text(source):
        break
    await asyncio.wait_for(source.closed.wait(), 30)
    await asyncio.wait_for(sidecar.gone.wait(), 30)


async def test_cancelling_the_consumer_frees_stream_and_source(client, sidecar):
    source, got = Source("one", then="silence"), asyncio.Event()

    async def consume():
        async for _ in client.guard_text(source):
            got.set()

    async with asyncio.TaskGroup() as tasks:
        consumer = tasks.create_task(consume())
        await got.wait()
        consumer.cancel()
    assert source.closed.is_set()
    await asyncio.wait_for(sidecar.gone.wait(), 30)


async def test_an_error_of_the_source_comes_after_what_it_said(client):
    source = Source("one ", "two", then=RuntimeError("the model crashed"))
    texts = client.guard_text(source)
    assert [await anext(texts), await anext(texts)] == ["one ", "two"]
    with pytest.raises(RuntimeError, match="the model crashed"):
        await anext(texts)
    assert source.closed.is_set()


async def test_a_source_that_was_never_read_is_closed_too(client, sidecar, answers):
    sidecar.guard = answers.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    closed = asyncio.Event()

    class Waiting:
        def __aiter__(self):
            return self

        async def __anext__(self):
            pytest.fail("it was read")

        async def aclose(self):
            closed.set()

    with pytest.raises(OverloadedError):
        await anext(client.guard_text(Waiting()))
    assert closed.is_set()


async def test_a_failure_in_mid_stream_is_raised_and_the_source_closed(client, sidecar):
    async def guard(sidecar, context):
        await context.read()
        await context.write(pb.GuardResponse(opened=pb.Opened()))
        await context.read()
        await context.abort(grpc.StatusCode.INTERNAL, "internal error")

    sidecar.guard = guard
    for source in (Source("one", then="silence"), Source(forever=True)):
        with pytest.raises(ScoringError, match="internal error"):
            await anext(client.guard_text(source))
        assert source.closed.is_set()


async def test_a_stream_may_have_a_deadline(client, sidecar):
    source = Source("one", then="silence")
    with pytest.raises(UnavailableError):
        async for _ in client.guard_text(source, timeout_s=0.2):
            pass
    assert source.closed.is_set()


async def test_stop_is_told(client, sidecar, answers):
    sidecar.guard = answers.then_stop(STOP, answers.summary)
    seen = []
    assert [text async for text in client.guard_text(Source("one"), on_event=seen.append)] == []
    assert seen[1] == StopUpstream()
