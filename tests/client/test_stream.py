from __future__ import annotations

import asyncio

import grpc
import pytest

from guardrail._pb import guardrail_pb2 as pb
from guardrail.client import (
    Finding,
    GuardClient,
    Intervention,
    LaneClosed,
    Released,
    Resource,
    StopUpstream,
    Summary,
    UnavailableError,
)
from guardrail.errors import GuardrailError, InputError, OverloadedError, ProtocolError, ScoringError


@pytest.fixture
async def client(sidecar):
    async with GuardClient(sidecar.target) as client:
        yield client


async def test_everything_said_on_opening_reaches_the_sidecar(client, sidecar):
    options = {
        "locale": "de-AT",
        "tenant": "t",
        "policy": "default",
        "mode": "enforce",
        "stream_id": "mine",
        "unscanned": {"image": 2},
    }
    async with client.guard([("system", "a"), ("user", "b"), ("assistant", "c")], **options) as stream:
        assert (stream.opened.stream_id, stream.opened.mode, stream.opened.pack) == ("s1", "enforce", "p 1")
        await stream.end()
        assert [event async for event in stream] == [Summary("completed", 0, 0, 0, 0, {})]
    opening = sidecar.received[0].open
    assert [(turn.role, turn.text) for turn in opening.conversation] == [
        (pb.ROLE_SYSTEM, "a"),
        (pb.ROLE_USER, "b"),
        (pb.ROLE_ASSISTANT, "c"),
    ]
    assert (opening.locale, opening.tenant, opening.policy) == ("de-AT", "t", "default")
    assert (opening.mode, opening.stream_id, dict(opening.unscanned)) == (
        pb.MODE_ENFORCE,
        "mine",
        {"image": 2},
    )


async def test_lanes_are_sent_and_ended_by_name(client, sidecar):
    async with client.guard() as stream:
        assert await stream.send("one", lane="a")
        assert await stream.send("two", lane="b")
        await stream.end_lane("a")
        await stream.end()
        events = [event async for event in stream]
    assert events[:2] == [Released("a", "one", 3), Released("b", "two", 6)]
    assert stream.summary is events[-1]
    assert [request.WhichOneof("request") for request in sidecar.received[1:]] == [
        "chunk",
        "chunk",
        "end_lane",
        "end",
    ]


async def test_long_text_is_cut_to_what_the_protocol_allows(client, sidecar):
    text = "ä" * 100_000
    async with client.guard() as stream, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(stream.send(text))
        back = ""
        while len(back) < len(text):
            back += (await anext(stream)).text
        assert await sending
    assert back == text
    assert [len(request.chunk.text) for request in sidecar.received[1:]] == [65_536, 34_464]


async def test_every_kind_of_event_is_plain_data(client, sidecar, answers):
    intervention = pb.Intervention(
        lane="a",
        kind=pb.INTERVENTION_KIND_REDIRECT,
        category="self_harm",
        severity=2,
        score=0.9,
        at=4,
        text="Help.",
        resources=[pb.Resource(id="us-988", name="988", country="US", contact="988")],
        rationale="rule",
        enforced=True,
    )
    finding = pb.Finding(lane="user", role=pb.ROLE_USER, category="c", severity=1, score=0.7, start=1, end=5)
    closed = pb.LaneClosed(lane="a", intervened=True, withheld=7, finish_reason="stop")
    summary = pb.Summary(
        outcome=pb.OUTCOME_INTERVENED, arrived=11, released=4, withheld=7, inserted=5, unscanned={"image": 1}
    )
    sidecar.guard = answers.then_stop(
        pb.GuardResponse(finding=finding),
        pb.GuardResponse(),  # from a newer sidecar: skipped
        pb.GuardResponse(intervention=intervention),
        pb.GuardResponse(lane_closed=closed),
        pb.GuardResponse(stop_upstream=pb.StopUpstream()),
        pb.GuardResponse(summary=summary),
    )
    async with client.guard() as stream:
        await stream.send("x", lane="a")
        events = [event async for event in stream]
    assert events == [
        Finding("user", "user", "c", 1, 0.7, 1, 5),
        Intervention(
            lane="a",
            kind="redirect",
            category="self_harm",
            severity=2,
            score=0.9,
            at=4,
            text="Help.",
            resources=(Resource("us-988", "988", "US", "988"),),
            rationale="rule",
            enforced=True,
        ),
        LaneClosed("a", intervened=True, withheld=7, finish_reason="stop"),
        StopUpstream(),
        Summary("intervened", 11, 4, 7, 5, {"image": 1}),
    ]


async def test_sending_says_when_text_is_needed_no_more(client, sidecar, answers):
    sidecar.guard = answers.then_stop(
        pb.GuardResponse(lane_closed=pb.LaneClosed(lane="a", intervened=True)),
        pb.GuardResponse(stop_upstream=pb.StopUpstream()),
        answers.summary,
    )
    async with client.guard() as stream:
        assert await stream.send("x", lane="a")
        assert await anext(stream) == LaneClosed("a", intervened=True, withheld=0, finish_reason="")
        assert not await stream.send("y", lane="a")
        assert not stream.stopped
        assert await anext(stream) == StopUpstream()
        assert stream.stopped
        assert not await stream.send("y", lane="b")


async def test_sending_into_a_stream_that_ended_well_is_no_error(client, sidecar, answers):
    sidecar.guard = answers.then_stop(answers.summary)
    async with client.guard() as stream:
        while await stream.send("x"):
            await asyncio.sleep(0)
        await stream.end()
        await stream.end_lane()


async def test_leaving_early_frees_the_stream_at_once(client, sidecar):
    async with client.guard() as stream:
        await stream.send("x")
        async for event in stream:
            assert event == Released("", "x", 1)
            break
    await asyncio.wait_for(sidecar.gone.wait(), 30)
    assert [event async for event in stream] == []
    assert not await stream.send("y")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InputError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, UnavailableError),
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.CANCELLED, UnavailableError),
        (grpc.StatusCode.INTERNAL, ScoringError),
        (grpc.StatusCode.UNIMPLEMENTED, ProtocolError),
        (grpc.StatusCode.PERMISSION_DENIED, GuardrailError),
    ],
)
async def test_a_status_becomes_an_error_of_ours(client, sidecar, answers, code, kind):
    sidecar.guard = answers.refuse(code, "open.policy: no such policy")
    with pytest.raises(GuardrailError) as caught:
        async with client.guard():
            pytest.fail("it opened")
    assert type(caught.value) is kind
    assert str(caught.value) == "open.policy: no such policy"


async def test_bad_input_names_its_field(client, sidecar, answers):
    sidecar.guard = answers.refuse(grpc.StatusCode.INVALID_ARGUMENT, "open.policy: no such policy")
    with pytest.raises(InputError) as caught:
        async with client.guard():
            pytest.fail("it opened")
    assert (caught.value.where, caught.value.reason) == ("open.policy", "no such policy")
    with pytest.raises(InputError, match="role"):
        client.guard([("robot", "x")])
    with pytest.raises(InputError, match="mode"):
        client.guard(mode="lenient")


async def test_a_failure_in_mid_stream_reaches_both_sides(client, sidecar):
    async def guard(sidecar, context):
        await context.read()
        await context.write(pb.GuardResponse(opened=pb.Opened()))
        await context.read()
        await context.abort(grpc.StatusCode.INTERNAL, "internal error")

    sidecar.guard = guard
    async with client.guard() as stream:
        await stream.send("x")
        with pytest.raises(ScoringError):
            await anext(stream)
    async with client.guard() as stream:
        while await stream.send("x"):
            await asyncio.sleep(0)
        with pytest.raises(ScoringError, match="internal error"):
            await anext(stream)


async def test_opening_has_a_deadline(sidecar):
    async def silence(sidecar, context):
        await asyncio.Event().wait()

    sidecar.guard = silence
    async with GuardClient(sidecar.target, open_timeout_s=0.05) as client:
        with pytest.raises(UnavailableError):
            async with client.guard():
                pytest.fail("it opened")
    await asyncio.wait_for(sidecar.gone.wait(), 30)


async def test_an_answer_that_does_not_open_is_a_broken_protocol(client, sidecar, answers):
    async def guard(sidecar, context):
        await context.write(answers.summary)

    sidecar.guard = guard
    with pytest.raises(ProtocolError):
        async with client.guard():
            pytest.fail("it opened")


async def test_nobody_there(tmp_path):
    async with GuardClient(f"unix://{tmp_path}/nobody.sock") as client:
        with pytest.raises(UnavailableError):
            async with client.guard():
                pytest.fail("it opened")
        with pytest.raises(UnavailableError):
            await client.score("x")


async def test_closing_the_client_ends_its_streams(sidecar):
    client = GuardClient(sidecar.target)
    async with client.guard() as stream:
        reading = asyncio.gather(anext(stream), return_exceptions=True)
        await asyncio.sleep(0)
        await client.close()
        assert isinstance((await reading)[0], UnavailableError)
