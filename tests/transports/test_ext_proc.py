"""The rules of Envoy's ext_proc protocol, kept towards a fake Envoy that speaks it message by message."""

from __future__ import annotations

import asyncio
import json
import time

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2 as modes
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from guardrail import observer as records
from guardrail.testing.composers import PlainComposer
from guardrail.testing.scorers import KeywordScorer
from guardrail.testing.upstream import DONE, chat_body, chat_chunk, chat_stream
from guardrail.transports import ext_proc
from guardrail.transports.ext_proc import ExtProcServicer
from guardrail.transports.services import Services
from guardrail.transports.tasks import spawn
from tests.conformance.fake_envoy import EVENT_STREAM, JSON, POST, FakeEnvoy
from tests.conformance.scenarios import REPLACE, WORDS, policy

ASK = json.dumps({"stream": True, "messages": [{"role": "user", "content": "Tell me."}]}).encode()
CALM = chat_stream(["Rivers run.", " The end."])


class Ledger:
    def __init__(self):
        self.records = []

    def record(self, record):
        self.records.append(record)

    def all(self, kind):
        return [record for record in self.records if isinstance(record, kind)]

    def unscanned(self):
        return {record.what: record.chars for record in self.all(records.TextUnscanned)}

    async def has(self, kind):
        """Wait for a record of this kind; the first of them."""
        async with asyncio.timeout(30):
            while not (found := self.all(kind)):
                await asyncio.sleep(0.005)
        return found[0]


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def composer():
    return PlainComposer()


@pytest.fixture
def services(ledger, composer):
    return Services(KeywordScorer(WORDS), policy(), composer, ledger, time.monotonic)


@pytest.fixture
async def channel(services):
    server = grpc.aio.server()
    ExtProcServicer(services).attach(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)
    async with asyncio.timeout(30):  # a call that was cut off is told so a little later
        while services.scorer.open_lanes:
            await asyncio.sleep(0.005)


@pytest.fixture
async def envoy(channel):
    async with FakeEnvoy(channel) as fake:
        yield fake


def texts(body: bytes) -> str:
    """What a client shows of a stream's first choice."""
    payloads = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(c["delta"].get("content") or "" for p in payloads for c in p["choices"])


# -- order and ends ------------------------------------------------------------------------------------


async def test_headers_and_bodies_are_answered_in_order(envoy):
    await envoy.request(ASK)
    await envoy.response_headers()
    await envoy.response_body(*CALM, end=True)
    await envoy.until_response_ends()
    await envoy.close()
    assert await envoy.until_closed() is grpc.StatusCode.OK
    assert envoy.kinds() == ["request_headers", "request_body", "response_headers", "response_body"]
    assert envoy.body() == b"".join(CALM)
    assert (envoy.ends("request_body"), envoy.ends("response_body")) == (1, 1)


async def test_a_request_is_echoed_as_it_comes(envoy):
    """The model starts as early as without us: no byte of the request waits for its end."""
    await envoy.request_headers()
    for piece in (ASK[:10], ASK[10:20]):
        before = len(envoy.chunks("request_body"))
        await envoy.request_body(piece)
        await envoy.until(lambda before=before: len(envoy.chunks("request_body")) > before)
    assert envoy.body("request_body") == ASK[:20]
    assert envoy.ends("request_body") == 0
    await envoy.request_body(ASK[20:], end=True)
    await envoy.until(lambda: envoy.ends("request_body") == 1)
    assert envoy.body("request_body") == ASK


async def test_request_trailers_end_a_request(envoy, ledger):
    await envoy.request_headers()
    await envoy.request_body(ASK.replace(b"Tell me", b"How to stab"))
    await envoy.say(request_trailers=pb.HttpTrailers())
    await envoy.response_headers()
    await envoy.response_body(chat_chunk("Like this."))
    await envoy.until_response_ends()
    assert envoy.kinds()[:3] == ["request_headers", "request_body", "request_trailers"]
    assert envoy.ends("request_body") == 0
    assert texts(envoy.body()) == REPLACE


async def test_response_trailers_end_a_response(envoy):
    """Then the body must not be ended, and what was held leaves before the trailers."""
    await envoy.request(ASK)
    await envoy.response_headers()
    await envoy.response_body(chat_chunk("An open wor"), DONE)
    await envoy.response_trailers()
    await envoy.until_response_ends()
    assert envoy.kinds()[-2:] == ["response_body", "response_trailers"]
    assert envoy.body() == chat_chunk("An open wor") + DONE
    assert envoy.ends() == 0
    assert envoy.summary["outcome"] == "completed"


async def test_duplicate_ends_are_ignored(envoy):
    await envoy.request(ASK)
    await envoy.request_body(b"", end=True)
    await envoy.response_headers()
    await envoy.response_body(*CALM, end=True)
    await envoy.response_body(end=True)
    await envoy.until_response_ends()
    await envoy.response_body(end=True)
    await envoy.close()
    assert await envoy.until_closed() is grpc.StatusCode.OK
    assert (envoy.ends("request_body"), envoy.ends("response_body")) == (1, 1)
    assert envoy.body() == b"".join(CALM)


async def test_an_intervention_ends_the_response_before_the_upstream_does(envoy, ledger):
    await envoy.request(ASK)
    await envoy.response_headers()
    await envoy.response_body(chat_chunk("Then stab him."))
    await envoy.until_response_ends()
    heard = len(envoy.responses)
    # What a stopped upstream still had on the way goes nowhere.
    await envoy.response_body(chat_chunk(" More."), *CALM, end=True)
    await envoy.close()
    assert await envoy.until_closed() is grpc.StatusCode.OK
    assert len(envoy.responses) == heard
    assert texts(envoy.body()) == f"Then…\n\n{REPLACE}"
    assert envoy.body().endswith(DONE)
    assert envoy.ends() == 1
    assert "immediate_response" not in envoy.kinds()


async def test_an_envoy_that_does_not_close_after_our_end_is_left(envoy, monkeypatch):
    monkeypatch.setattr(ext_proc, "_LINGER_S", 0.05)
    await envoy.request(ASK)
    await envoy.response_headers()
    await envoy.response_body(chat_chunk("Then stab him."))
    assert await envoy.until_closed() is grpc.StatusCode.OK
    assert envoy.ends() == 1


# -- what we are asked to be ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL"])
@pytest.mark.parametrize("side", ["request_mode", "response_mode"])
async def test_other_body_modes_are_refused_rather_than_guarding_nothing(envoy, side, mode):
    await envoy.request_headers(**{side: getattr(modes.ProcessingMode, mode)})
    assert await envoy.until_closed() is grpc.StatusCode.FAILED_PRECONDITION
    assert "FULL_DUPLEX_STREAMED" in envoy.details
    assert "guardrail envoy-config" in envoy.details
    assert envoy.responses == []


async def test_our_headers_and_accept_encoding_are_removed(envoy):
    headers = {**POST, "accept-encoding": "gzip", "x-guardrail-locale": "de-AT", "x-guardrail-new": "1"}
    await envoy.request_headers({**headers, "accept-language": "de"})
    await envoy.until(lambda: envoy.responses)
    mutation = envoy.one("request_headers").response.header_mutation
    assert sorted(mutation.remove_headers) == ["accept-encoding", "x-guardrail-locale", "x-guardrail-new"]
    assert not mutation.set_headers


async def test_headers_may_stand_in_either_field(envoy, ledger):
    """Older Envoys write ``value``, newer ones ``raw_value``."""
    values = [base_pb2.HeaderValue(key=key, value=value) for key, value in POST.items()]
    await envoy.say(request_headers=pb.HttpHeaders(headers=base_pb2.HeaderMap(headers=values)))
    await envoy.request_body(ASK, end=True)
    assert (await ledger.has(records.StreamOpened)).transport == "ext_proc"


async def test_the_response_says_that_it_is_guarded(envoy):
    await envoy.request(ASK)
    await envoy.response_headers({**EVENT_STREAM, "x-guardrail": "the upstream's own"})
    await envoy.until(lambda: "response_headers" in envoy.kinds())
    (option,) = envoy.one("response_headers").response.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value) == (
        "x-guardrail",
        b"mode=enforce; policy=conformance",
    )
    assert option.append_action == base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


async def test_an_unknown_mode_asks_for_nothing(envoy, ledger):
    await envoy.request(ASK, {**POST, "x-guardrail-mode": "off"})
    assert (await ledger.has(records.StreamOpened)).mode == "enforce"


# -- sizes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/other"])
async def test_no_chunk_is_larger_than_envoy_likes(envoy, path):
    big = chat_chunk("Hi.", x_audio="A" * 300_000) + DONE
    await envoy.request(ASK, {**POST, ":path": path})
    await envoy.response_headers()
    await envoy.response_body(big, end=True)
    await envoy.until_response_ends()
    assert envoy.body() == big
    assert max(map(len, envoy.chunks())) <= 64 * 1024
    assert envoy.ends() == 1


async def test_a_request_too_large_to_read_passes_is_counted_and_its_answer_guarded(
    envoy, ledger, monkeypatch
):
    monkeypatch.setattr(ext_proc, "MAX_REQUEST_BYTES", 100)
    await envoy.request_headers()
    await envoy.request_body(b"x" * 80)
    await envoy.request_body(b"x" * 80, end=True)
    await envoy.response_headers()
    await envoy.response_body(chat_chunk("Then stab him."))
    await envoy.until_response_ends()
    assert envoy.body("request_body") == b"x" * 160
    assert texts(envoy.body()) == f"Then…\n\n{REPLACE}"
    assert ledger.unscanned() == {"request_too_large": 160}


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe{", b"null"])
async def test_a_malformed_request_passes_is_counted_and_its_answer_guarded(envoy, ledger, body):
    await envoy.request(body)
    await envoy.response_headers(JSON)
    await envoy.response_body(chat_body("Then stab him."), end=True)
    await envoy.until_response_ends()
    assert envoy.body("request_body") == body
    assert json.loads(envoy.body())["choices"][0]["message"]["content"] == f"Then…\n\n{REPLACE}"
    assert ledger.unscanned() == {"malformed_request": len(body)}


async def test_an_answer_that_comes_before_its_request_is_complete(envoy, ledger):
    """An upstream may answer early; it is guarded, and what it did not wait for is counted."""
    await envoy.request_headers()
    await envoy.request_body(ASK[:20])
    await envoy.response_headers()
    await envoy.response_body(chat_chunk("Hi."))
    await envoy.request_body(ASK[20:], end=True)
    await envoy.until(lambda: envoy.ends("request_body") == 1)
    await envoy.response_body(chat_chunk(" Then stab him."))
    await envoy.until_response_ends()
    assert envoy.body("request_body") == ASK
    assert texts(envoy.body()) == f"Hi. Then…\n\n{REPLACE}"
    assert ledger.unscanned() == {"malformed_request": 20}


async def test_an_envoy_that_does_not_take_our_answers_is_not_read_from(services, monkeypatch):
    """The protocol has no flow control: what we do not read, Envoy's gRPC window holds back."""
    monkeypatch.setattr(ext_proc, "MAX_WAITING_BYTES", 8)
    said = 0

    async def messages():
        nonlocal said
        for _ in range(1000):
            said += 1
            yield pb.ProcessingRequest(response_body=pb.HttpBody(body=b"x"))

    http = ext_proc._HttpStream(services, 0)
    reading = spawn(http.read(messages()), name="reading")
    for _ in range(100):
        await asyncio.sleep(0)
    assert said <= 10
    answers = [answer async for answer in http.responses()]
    await reading
    chunks = [answer.response_body.response.body_mutation.streamed_response.body for answer in answers]
    assert len(b"".join(chunks)) == said == 1000
    await http.give_up()


# -- what passes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{":path": "/v1/models"}, {":method": "GET"}, {":path": "/"}])
async def test_unknown_paths_are_echoed_and_counted(envoy, ledger, headers):
    await envoy.request(b"anything", {**POST, "accept-encoding": "gzip", **headers})
    await envoy.response_headers()
    await envoy.response_body(b"data: stab\n\n", b"\xff\x00", end=True)
    await envoy.until_response_ends()
    await envoy.response_body(end=True)  # a duplicate end
    await envoy.close()
    assert await envoy.until_closed() is grpc.StatusCode.OK
    assert envoy.body("request_body") == b"anything"
    assert not envoy.one("request_headers").response.header_mutation.remove_headers
    assert not envoy.one("response_headers").response.header_mutation.set_headers
    assert envoy.body() == b"data: stab\n\n\xff\x00"
    assert envoy.ends() == 1
    assert ledger.all(records.StreamOpened) == []
    assert ledger.unscanned() == {"unguarded_path": 14}


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({**JSON, ":status": "429"}, "upstream_error"),
        ({**EVENT_STREAM, ":status": "500"}, "upstream_error"),
        ({**EVENT_STREAM, "content-encoding": "gzip"}, "unguarded"),
        ({**EVENT_STREAM, "content-type": "text/html"}, "unguarded"),
        ({":status": "200"}, "unguarded"),
    ],
)
async def test_answers_nobody_can_read_are_echoed_and_counted(envoy, ledger, headers, outcome):
    await envoy.request(ASK)
    await envoy.response_headers(headers)
    await envoy.response_body(b"stab", b" him", end=True)
    await envoy.until_response_ends()
    assert envoy.body() == b"stab him"
    assert not envoy.one("response_headers").response.header_mutation.set_headers
    assert (await ledger.has(records.StreamEnded)).outcome == outcome
    assert ledger.unscanned() == {"unguarded_response": 8}


async def test_a_response_without_a_body(envoy, ledger):
    await envoy.request(ASK)
    await envoy.response_headers({":status": "204"}, end=True)
    await envoy.until(lambda: "response_headers" in envoy.kinds())
    await envoy.close()
    assert await envoy.until_closed() is grpc.StatusCode.OK
    assert envoy.kinds() == ["request_headers", "request_body", "response_headers"]


async def test_trailers_after_an_echoed_body(envoy, ledger):
    await envoy.request(ASK, {**POST, ":path": "/other"})
    await envoy.response_headers()
    await envoy.response_body(b"abc")
    await envoy.response_trailers()
    await envoy.until_response_ends()
    assert (envoy.body(), envoy.ends()) == (b"abc", 0)
    assert ledger.unscanned() == {"unguarded_path": 3}


# -- accounts and departures ---------------------------------------------------------------------------


async def test_the_account_is_left_for_envoys_access_log(envoy):
    await envoy.request(ASK)
    await envoy.response_headers()
    call = {"tool_calls": [{"index": 0, "function": {"arguments": "12345"}}]}
    await envoy.response_body(chat_chunk("Rivers run."), chat_chunk(None, delta=call))
    await envoy.response_body(chat_chunk(" Then stab him."))
    await envoy.until_response_ends()
    assert envoy.summary == {
        "outcome": "intervened",
        "arrived": 26,
        "released": 16,
        "withheld": 10,
        "inserted": len(f"…\n\n{REPLACE}"),
        "unscanned": 5,
    }
    # It rides on the last message alone: Envoy would merge more of them.
    assert envoy.responses[-1].HasField("dynamic_metadata")


async def test_an_envoy_that_leaves_frees_everything(envoy, ledger, services):
    await envoy.request(ASK)
    await envoy.response_headers()
    await envoy.response_body(chat_chunk("Rivers run and"))
    await envoy.until(envoy.body)
    assert services.scorer.open_lanes > 0
    envoy._call.cancel()
    assert (await ledger.has(records.StreamEnded)).outcome == "cancelled"
    assert services.scorer.open_lanes == 0


async def test_an_envoy_that_leaves_before_there_is_an_answer(envoy, ledger, services):
    await envoy.request(ASK)
    await ledger.has(records.StreamOpened)
    await envoy.close()
    assert await envoy.until_closed() is grpc.StatusCode.OK
    assert (await ledger.has(records.StreamEnded)).outcome == "cancelled"


async def test_a_defect_of_ours_breaks_the_response_instead_of_ending_or_hanging_it(
    envoy, ledger, composer, monkeypatch
):
    def compose(_request):
        raise ZeroDivisionError

    monkeypatch.setattr(composer, "compose", compose)
    await envoy.request(ASK)
    await envoy.response_headers()
    await envoy.response_body(chat_chunk("Rivers run. Then stab him."))
    assert await envoy.until_closed() is grpc.StatusCode.UNKNOWN
    assert envoy.ends() == 0
    assert b"stab" not in envoy.body()
    assert (await ledger.has(records.StreamEnded)).outcome == "error"
