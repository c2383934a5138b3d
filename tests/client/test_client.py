from __future__ import annotations

import asyncio

import grpc
import pytest

import guardrail.client
from guardrail._pb import guardrail_pb2 as pb
from guardrail.client import GuardClient, Score, TokenScore, UnavailableError
from guardrail.errors import InputError, OverloadedError

SCORED = pb.ScoreResponse(
    max={"self_harm": 0.75},
    flagged=True,
    category="self_harm",
    severity=2,
    onset=0,
    tokens=[pb.TokenScore(start=0, end=4, scores={"self_harm": 0.75})],
    pack="p 1",
    policy="default",
)


@pytest.fixture
async def client(sidecar):
    async with GuardClient(sidecar.target) as client:
        yield client


def test_what_is_public_is_there_and_documented():
    assert guardrail.client.__all__ == sorted(guardrail.client.__all__)
    for name in guardrail.client.__all__:
        assert getattr(guardrail.client, name).__doc__


async def test_score(client, sidecar):
    requests = []

    async def score(request, context):
        requests.append(request)
        return SCORED

    sidecar.score = score
    result = await client.score("text", role="user", conversation=[("assistant", "Hi")], tokens=True)
    assert result == Score(
        max={"self_harm": 0.75},
        flagged=True,
        category="self_harm",
        severity=2,
        onset=0,
        pack="p 1",
        policy="default",
        tokens=(TokenScore(0, 4, {"self_harm": 0.75}),),
    )
    (request,) = requests
    assert (request.text, request.role, request.include_tokens) == ("text", pb.ROLE_USER, True)
    assert [(turn.role, turn.text) for turn in request.conversation] == [(pb.ROLE_ASSISTANT, "Hi")]


async def test_nothing_found_has_no_onset(client, sidecar):
    async def score(request, context):
        return pb.ScoreResponse(max={"self_harm": 0.1})

    sidecar.score = score
    result = await client.score("text")
    assert (result.flagged, result.category, result.severity, result.onset) == (False, "", 0, None)


async def test_score_errors_are_ours(client, sidecar):
    async def score(request, context):
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    sidecar.score = score
    with pytest.raises(OverloadedError, match="full"):
        await client.score("text")
    with pytest.raises(InputError, match="robot"):
        await client.score("text", role="robot")


async def test_wait_ready_returns_once_the_sidecar_serves(client, sidecar):
    await sidecar.set_serving(False)
    waiting = asyncio.gather(client.wait_ready(timeout_s=30))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await sidecar.set_serving(True)
    await waiting


async def test_wait_ready_gives_up(client, sidecar, tmp_path):
    await sidecar.set_serving(False)
    with pytest.raises(UnavailableError):
        await client.wait_ready(timeout_s=0.05)
    async with GuardClient(f"unix://{tmp_path}/nobody.sock") as lonely:
        with pytest.raises(UnavailableError):
            await lonely.wait_ready(timeout_s=0.05)


async def test_a_client_may_be_closed_unused_and_twice(sidecar):
    client = GuardClient(sidecar.target)
    await client.close()
    await client.wait_ready(timeout_s=30)
    await client.close()
    await client.close()


async def test_credentials_are_used(sidecar):
    async with GuardClient(sidecar.target, credentials=grpc.ssl_channel_credentials()) as client:
        with pytest.raises(UnavailableError):  # the sidecar here speaks plaintext
            await client.score("text", timeout_s=5)
