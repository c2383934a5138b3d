"""What a request says: every text somebody's, everything else counted."""

from __future__ import annotations

import json

import pytest

from guardrail.core.conversation import Turn
from guardrail.core.verdicts import Role
from guardrail.errors import InputError
from guardrail.wire.chat_request import parse_chat_request
from guardrail.wire.dialect import GuardedRequest


def parse(*messages: object, **fields: object) -> GuardedRequest:
    return parse_chat_request(json.dumps({"model": "m", "messages": messages, **fields}).encode())


def test_a_conversation():
    request = parse(
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "ü 😀"},
        stream=True,
        stream_options={"include_usage": True},
        n=3,
    )
    assert request == GuardedRequest(
        conversation=(
            Turn(Role.SYSTEM, "Be kind."),
            Turn(Role.SYSTEM, "Be brief."),
            Turn(Role.USER, "Hi"),
            Turn(Role.ASSISTANT, "Hello"),
            Turn(Role.USER, "ü 😀"),
        ),
        stream=True,
        include_usage=True,
        unscanned={},
        model="m",
        choices=3,
    )


def test_content_parts():
    request = parse(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "one"},
                {"type": "image_url", "image_url": {"url": "data:..."}},
                {"type": "text", "text": "two"},
                {"type": "input_audio", "input_audio": {"data": "..."}},
                {"type": "file", "file": {"file_id": "f"}},
                {"type": "hologram", "text": "three"},
                {"type": "text", "text": 4},
                {"type": ["text"], "text": "five"},
                "six",
                None,
            ],
        }
    )
    assert request.conversation == (Turn(Role.USER, "one\ntwo\nsix"),)
    assert request.unscanned == {"image": 1, "audio": 1, "file": 1, "other": 3}


def test_tools_are_counted_and_are_nobodys_words():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    request = parse(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "result"},
        {"role": "function", "name": "f", "content": [{"type": "text", "text": "more"}]},
        {"role": "assistant", "content": "Done", "refusal": "no", "reasoning_content": "because"},
    )
    assert request.conversation == (Turn(Role.ASSISTANT, "Done"),)
    assert request.unscanned["tool_calls"] == 7
    assert request.unscanned["tool_result"] == 6 + len("text") + len("more")
    assert (request.unscanned["refusal"], request.unscanned["reasoning"]) == (2, 7)


@pytest.mark.parametrize("role", ["USER", "human", None, 7, ["system"]])
def test_an_unknown_role_is_the_client_speaking(role):
    assert parse({"role": role, "content": "x"}).conversation == (Turn(Role.USER, "x"),)


def test_odd_fields_are_the_servers_to_refuse():
    for fields in (
        {},
        {"messages": None},
        {"messages": {}},
        {"messages": [{}]},
        {"messages": [{"content": {}}]},
    ):
        assert parse_chat_request(json.dumps(fields).encode()).conversation == ()
    request = parse("hello", stream="yes", stream_options=[], n=0, model=5)
    assert (request.stream, request.include_usage, request.choices, request.model) == (False, False, 1, "")
    assert request.unscanned == {"malformed": 1}


def test_half_a_surrogate_pair_can_be_encoded():
    request = parse_chat_request(rb'{"messages": [{"role": "user", "content": "\ud83d!"}]}')
    assert request.conversation == (Turn(Role.USER, "\ufffd!"),)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b'{"messages": [', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "too deep"),
        (b"[]", "not a JSON object"),
        (b"{}" + b" " * 99, "more than the 64"),
    ],
)
def test_what_is_no_request_names_where(body, reason):
    with pytest.raises(InputError, match=reason) as error:
        parse_chat_request(body, max_request_bytes=64 if len(body) < 200 else 1 << 20)
    assert error.value.where == "request body"


def test_an_error_never_repeats_the_request():
    with pytest.raises(InputError) as error:
        parse_chat_request(b'{"messages": secret}')
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("response_format", "structured"),
    [
        ({"type": "json_object"}, True),
        ({"type": "json_schema"}, True),
        ({"type": "text"}, False),
        ("json", False),
    ],
)
def test_a_request_for_json_is_known_as_one(response_format, structured):
    body = json.dumps({"messages": [], "response_format": response_format}).encode()

    assert parse_chat_request(body).structured is structured
