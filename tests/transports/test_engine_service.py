"""What an engine says to clients that break the protocol, are too many or fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging

import grpc
import pytest

from guardrail._pb import engine_pb2 as pb
from guardrail._pb import engine_pb2_grpc as pb_grpc
from guardrail.core.verdicts import Role
from guardrail.testing.scorers import KeywordScorer, score_words
from guardrail.transports import engine_messages as messages
from guardrail.transports.engine_messages import BeginTurn, Extend, Open
from guardrail.transports.engine_service import ENGINE, EngineLimits
from guardrail.transports.tasks import spawn
from tests.transports.engine_stage import attached, serving

WORDS = {"doom": {"violence": 0.5}}
HELLO = pb.ScoreRequest(hello=pb.Hello(protocol=messages.PROTOCOL, version="x"))


@pytest.fixture
def address(tmp_path_factory):
    return f"unix:{tmp_path_factory.mktemp('e') / 's'}"


@contextlib.asynccontextmanager
async def calling(address):
    async with grpc.aio.insecure_channel(address) as channel:
        yield pb_grpc.EngineServiceStub(channel).Score()


async def refused(call) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(30):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        return await call.code(), await call.details()


def test_the_service_is_called_as_the_protocol_calls_it():
    assert pb.DESCRIPTOR.services_by_name["EngineService"].full_name == ENGINE


async def test_who_speaks_another_version_is_told_both(address):
    async with serving(KeywordScorer(WORDS), address), calling(address) as call:
        await call.write(pb.ScoreRequest(hello=pb.Hello(protocol=7)))
        code, details = await refused(call)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "speaks version 7" in details
    assert "this guardrail version 1" in details


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([pb.ScoreRequest()], "hello: must come first"),
        ([HELLO, HELLO], "request: only operations"),
        ([HELLO, next(messages.requests([BeginTurn(3, Role.USER)]))], "lane 3 is not open"),
    ],
)
async def test_who_breaks_the_protocol_is_told_how_and_loses_the_connection(address, requests, reason):
    async with serving(KeywordScorer(WORDS), address) as servicer, calling(address) as call:
        for request in requests:
            await call.write(request)
        code, details = await refused(call)
        assert servicer.counts.clients == 0
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


async def test_one_client_too_many_is_refused_at_the_door(address):  # invariant 10
    limits = EngineLimits(max_clients=1)
    engine = serving(KeywordScorer(WORDS), address, limits=limits)
    async with engine, attached(address), calling(address) as call:
        code, _ = await refused(call)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_who_does_not_say_hello_is_not_waited_for(address):  # invariant 10
    limits = EngineLimits(hello_deadline_s=0.05)
    async with serving(KeywordScorer(WORDS), address, limits=limits), calling(address) as call:
        code, _ = await refused(call)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


class GenerousScorer(KeywordScorer):
    """Gives many scores for little work."""

    def __init__(self):
        super().__init__(WORDS)
        self._tokens = score_words("doom " * 16_000, 0, WORDS)

    async def score(self, text, offset):
        return self._tokens


async def test_who_does_not_read_is_not_waited_for_and_frees_its_lanes(address):  # invariant 10
    scorer = GenerousScorer()
    limits = EngineLimits(write_deadline_s=0.2, max_calls=4)
    async with serving(scorer, address, limits=limits) as servicer, calling(address) as call:
        await call.write(HELLO)
        await call.read()
        writing = spawn(keep_asking(call), name="a client that does not read", awaited=True)
        async with asyncio.timeout(60):
            while servicer.counts.clients:
                await asyncio.sleep(0.01)
        assert scorer.open_lanes == 0
        writing.cancel()


async def keep_asking(call):
    operations = [Open(1), BeginTurn(1, Role.USER)]
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for number in itertools.count():
            (request,) = messages.requests([*operations, Extend(1, number, "doom")])
            await call.write(request)
            operations = []


async def test_no_text_is_logged_whatever_goes_wrong(address, caplog):  # invariant 8
    def defect(text):
        raise ZeroDivisionError(text)

    caplog.set_level(logging.DEBUG)
    async with serving(KeywordScorer(WORDS, fail=defect), address), attached(address) as client:
        lane = client.open()
        lane.begin_turn(Role.USER)
        with pytest.raises(Exception, match="ZeroDivisionError"):
            await lane.extend("SECRET words")
    assert "SECRET" not in caplog.text
