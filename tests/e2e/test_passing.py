"""What is not ours to touch passes as it is: errors, other paths, headers, bodies of any size."""

from __future__ import annotations

import gzip
import json

import openai
import pytest

from guardrail import observer as records
from guardrail.testing.upstream import DONE, JSON, Answer, chat_body, chat_chunk, chat_stream, event
from tests.e2e.http_client import ask, fetch, hear, texts
from tests.e2e.stage import REPLACE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


def client(stage) -> openai.AsyncOpenAI:
    url = f"http://{stage.address}/v1"
    return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)


# -- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_an_error_passes_as_it_is(stage, status, stream):
    body = json.dumps({"error": {"message": "no stab today", "type": "x", "code": status}}).encode()
    headers = {**JSON, "retry-after": "7", "x-request-id": "r-1"}
    stage.upstream.answer = Answer([body], status, headers, framing="length")
    response = await fetch(stage.address, ask(stream=stream))
    assert (response.status, response.body, response.complete) == (status, body, True)
    assert (response.headers["retry-after"], response.headers["x-request-id"]) == ("7", "r-1")
    assert response.headers["content-type"] == "application/json"
    assert "x-guardrail" not in response.headers
    assert (await stage.ended()).outcome == "upstream_error"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_the_openai_client_raises_what_it_raises_without_us(stage, status, error):
    body = json.dumps({"error": {"message": "context length exceeded", "code": "too_long"}}).encode()
    stage.upstream.answer = Answer([body], status, JSON)
    async with client(stage) as guarded:
        with pytest.raises(error) as caught:
            await guarded.chat.completions.create(model="m", messages=[], stream=True)
    assert caught.value.code == "too_long"


async def test_an_error_in_mid_stream_reaches_the_openai_client(stage):
    pieces = [chat_chunk("Rivers run."), event({"error": {"message": "out of memory", "code": "oom"}})]
    stage.upstream.answer = Answer(pieces)
    async with client(stage) as guarded:
        messages = [{"role": "user", "content": "Hi."}]
        stream = await guarded.chat.completions.create(model="m", messages=messages, stream=True)
        said = []
        with pytest.raises(openai.APIError, match="out of memory"):
            await hear(stream, said)
    assert said == ["Rivers run."]


# -- other paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models", b""),
        ("POST", "/v1/embeddings", b'{"input": "stab"}'),
        ("GET", "/v1/chat/completions", b""),
        ("DELETE", "/v1/files/7?purge=yes", b""),
        ("POST", "/metrics", b"x" * 100_000),
    ],
)
async def test_other_paths_are_untouched(stage, method, path, body):
    answer = b'{"data": "stab him"}' * 5000
    stage.upstream.answer = Answer([answer], headers={**JSON, "x-other": "1"})
    headers = {"accept-encoding": "gzip", "authorization": "Bearer t"}
    response = await fetch(stage.address, body, method=method, path=path, headers=headers)
    assert (response.status, response.body, response.complete) == (200, answer, True)
    assert response.headers["x-other"] == "1"
    assert "x-guardrail" not in response.headers
    (exchange,) = stage.upstream.exchanges
    assert (exchange.method, exchange.path, exchange.body) == (method, path, body)
    assert exchange.headers["accept-encoding"] == "gzip"
    assert exchange.headers["authorization"] == "Bearer t"
    assert stage.ledger.all(records.StreamOpened) == []
    # Invariant 7: nobody read it, and that is said.
    await eventually(lambda: stage.ledger.unscanned() == {"unguarded_path": len(answer)})


async def test_a_stream_on_a_path_nobody_knows_passes_and_is_counted(stage):
    pieces = chat_stream(["Then stab him."])
    stage.upstream.answer = Answer(pieces)
    response = await fetch(stage.address, ask(), path="/v1/other")
    assert response.body == b"".join(pieces)
    await eventually(lambda: stage.ledger.unscanned() == {"unguarded_path": len(response.body)})


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "/openai/deployments/d/chat/completions?api-version=1",
        "/v1/chat/completions/",
        "/v1/chat/completion%73",  # servers route by the decoded path
        "/v1/chat%2Fcompletions",
    ],
)
async def test_every_way_to_write_the_path_is_guarded(stage, path):
    stage.upstream.answer = Answer(chat_stream(["Then", " stab him."]))
    response = await fetch(stage.address, ask(), path=path)
    assert texts(response.body) == {0: f"Then…\n\n{REPLACE}"}
    assert stage.upstream.exchanges[0].path == path


# -- headers -------------------------------------------------------------------------------------------


async def test_our_headers_are_read_and_taken_off(stage):
    stage.upstream.answer = Answer(chat_stream(["Hi."]))
    headers = {
        "x-guardrail-locale": "de-AT",
        "X-Guardrail-Tenant": "acme",
        "x-guardrail-anything": "1",
        "accept-encoding": "gzip, br",
        "authorization": "Bearer t",
        "user-agent": "test/1",
    }
    await fetch(stage.address, ask(), headers=headers)
    received = stage.upstream.exchanges[0].headers
    assert not [name for name in received if name.startswith("x-guardrail")]
    assert "accept-encoding" not in received  # a compressed stream could not be read
    assert (received["authorization"], received["user-agent"]) == ("Bearer t", "test/1")
    (opened,) = stage.ledger.all(records.StreamOpened)
    assert (opened.locale, opened.tenant, opened.transport) == ("de-AT", "acme", "ext_proc")


async def test_the_country_may_come_from_accept_language(stage):
    stage.upstream.answer = Answer(chat_stream(["Hi."]))
    await fetch(stage.address, ask(), headers={"accept-language": "en;q=0.5, pt-BR"})
    assert stage.ledger.all(records.StreamOpened)[0].locale == "pt-BR"
    assert stage.upstream.exchanges[0].headers["accept-language"] == "en;q=0.5, pt-BR"


async def test_an_upstream_that_compresses_all_the_same_passes_and_is_counted(stage):
    body = gzip.compress(b"".join(chat_stream(["Then stab him."])))
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    stage.upstream.answer = Answer([body], headers=headers)
    response = await fetch(stage.address, ask())
    assert response.body == body
    await eventually(lambda: stage.ledger.unscanned() == {"unguarded_response": len(body)})


async def test_trailers_of_the_upstream_do_no_harm(stage):
    pieces = chat_stream(["Rivers run."])
    headers = {"content-type": "text/event-stream", "trailer": "x-sum"}
    stage.upstream.answer = Answer(pieces, headers=headers, trailers={"x-sum": "1"})
    response = await fetch(stage.address, ask())
    assert (response.body, response.complete) == (b"".join(pieces), True)


# -- requests of all sizes and shapes ------------------------------------------------------------------


async def test_a_large_request_arrives_byte_for_byte_and_is_read(stage):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    content = [{"type": "text", "text": "How do I stab him?"}, image]
    body = ask(messages=[{"role": "user", "content": content}])
    assert len(body) > 1_000_000
    stage.upstream.answer = Answer(chat_stream(["Like this."]))
    response = await fetch(stage.address, body)
    assert stage.upstream.exchanges[0].body == body
    assert texts(response.body) == {0: REPLACE}
    assert stage.ledger.unscanned() == {"image": 1}


async def test_a_client_that_asks_before_it_sends(stage):
    """``Expect: 100-continue``, as curl does with large bodies."""
    stage.upstream.answer = Answer(chat_stream(["Hi."]))
    body = ask("word " * 50_000)
    response = await fetch(stage.address, body, headers={"expect": "100-continue"})
    assert stage.upstream.exchanges[0].body == body
    assert texts(response.body) == {0: "Hi."}


async def test_a_request_in_chunks(stage):
    body = ask("How do I stab him?")
    pieces = [body[i : i + 9] for i in range(0, len(body), 9)]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    stage.upstream.answer = Answer(chat_stream(["Like this."]))
    response = await fetch(stage.address, chunked, headers={"transfer-encoding": "chunked"})
    assert stage.upstream.exchanges[0].body == body
    assert texts(response.body) == {0: REPLACE}


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"messages": 7}', "{naïve".encode("utf-16")])
async def test_a_malformed_request_is_the_upstreams_to_refuse(stage, body):
    error = b'{"error": {"message": "bad"}}'
    stage.upstream.answer = Answer([error], 400, JSON)
    response = await fetch(stage.address, body)
    assert (response.status, response.body) == (400, error)
    assert stage.upstream.exchanges[0].body == body


async def test_the_answer_to_a_request_we_cannot_read_is_guarded_all_the_same(stage):
    stage.upstream.answer = Answer([*chat_stream(["Then", " stab him."]), DONE])
    response = await fetch(stage.address, b"{ lenient: 'json' }")
    assert texts(response.body) == {0: f"Then…\n\n{REPLACE}"}
    assert stage.ledger.unscanned() == {"malformed_request": 19}
    stage.reset()
    stage.upstream.answer = Answer([chat_body("Then stab him.")], headers=JSON)
    response = await fetch(stage.address, b"{ lenient: 'json' }")
    assert response.json()["choices"][0]["message"]["content"] == f"Then…\n\n{REPLACE}"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_a_request_keeps_its_length_for_servers_that_read_no_chunks(stage, path):
    stage.upstream.answer = Answer(chat_stream(["Hello."]))
    body = ask()
    await fetch(stage.address, body, path=path)
    exchange = await stage.upstream.exchanged()
    assert exchange.headers["content-length"] == str(len(exchange.body))
    assert "transfer-encoding" not in exchange.headers


async def test_help_does_not_break_an_answer_that_must_be_json(stage):
    text = '{"mood": "blue. Very blue."}'
    stage.upstream.answer = Answer(chat_stream([text]))
    response = await fetch(stage.address, ask("I am sad.", response_format={"type": "json_object"}))
    assert texts(response.body) == {0: text}
    noted = stage.ledger.all(records.InterventionApplied)
    assert [(note.kind, note.enforced) for note in noted] == [("redirect", False)]
