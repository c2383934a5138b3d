"""Which dialect guards what."""

from __future__ import annotations

import pytest

from guardrail.wire.chat_completion_body import ChatCompletionBody
from guardrail.wire.chat_completions import ChatCompletionsStream
from guardrail.wire.chat_request import parse_chat_request
from guardrail.wire.dialect import GuardedRequest
from guardrail.wire.negotiate import request_parser, response_stream

REQUEST = GuardedRequest(conversation=(), stream=True, include_usage=True, model="m")


@pytest.mark.parametrize(
    ("method", "path", "guarded"),
    [
        ("POST", "/v1/chat/completions", True),
        ("post", "/openai/deployments/x/chat/completions?api-version=1", True),
        ("POST", "/v1/chat/completions/", True),
        ("GET", "/v1/chat/completions", False),
        ("POST", "/v1/completions", False),
        ("POST", "/v1/models?x=/chat/completions", False),
    ],
)
def test_requests(method, path, guarded):
    assert request_parser(method, path) is (parse_chat_request if guarded else None)


@pytest.mark.parametrize(
    ("content_type", "encoding", "dialect"),
    [
        ("text/event-stream", "", ChatCompletionsStream),
        ("Text/Event-Stream; charset=utf-8", "identity", ChatCompletionsStream),
        ("application/json; charset=utf-8", "", ChatCompletionBody),
        ("text/event-stream", "gzip", None),
        ("text/html", "", None),
        ("", "", None),
    ],
)
def test_responses(content_type, encoding, dialect):
    stream = response_stream(REQUEST, content_type=content_type, content_encoding=encoding)
    assert type(stream) is (dialect or type(None))


def test_what_the_request_said_reaches_the_stream():
    stream = response_stream(
        REQUEST, content_type="text/event-stream", stream_id="s", created=3, prompt_tokens=2
    )
    out = stream.insert("choice/0", "x", {}) + stream.close("choice/0", intervened=True, finish_reason="")
    out += stream.finish()
    assert b'"id":"chatcmpl-guardrail-s"' in out
    assert b'"model":"m"' in out
    assert b'"prompt_tokens":2' in out


@pytest.mark.parametrize(
    "path", ["/v1/chat/completion%73", "/v1/chat%2Fcompletions", "/V1/chat/completions/?x=1"]
)
def test_another_spelling_of_the_path_is_no_way_round(path):
    assert request_parser("POST", path) is not None
