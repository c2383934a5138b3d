"""One whole answer: as it came, or with what was changed and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from wire_streams import Schedule, pieces

from guardrail.wire.chat_completion_body import ChatCompletionBody

LANE = "choice/0"


def answer(text: str | None = "Take forty pills now.", *, index: int = 0, **message: object) -> dict:
    message = {"role": "assistant", "content": text, "refusal": None, **message}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}


def body(*choices: dict, **fields: object) -> bytes:
    envelope = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return json.dumps({**envelope, "choices": choices, "usage": usage, **fields}, indent=1).encode()


def guarded(*data: bytes, **options) -> Schedule:
    return Schedule(ChatCompletionBody(**options)).feed(*data).end()


def test_an_answer_nobody_touches_is_the_upstreams_own():
    data = body(answer(), answer("ü 😀", index=1), vendor={"x": 1.50})
    driver = guarded(data)
    assert driver.arrived == {"choice/0": "Take forty pills now.", "choice/1": "ü 😀"}
    assert driver.finished == ["choice/0", "choice/1"]
    assert driver.clear().out == b""
    assert driver.finish() == data


@given(cuts=st.lists(st.integers(0, 1 << 12), max_size=6), at=st.integers(0, 25))
def test_cuts_mean_nothing(cuts, at):
    data = body(answer(), answer("ü 😀", index=1))
    outs = [
        guarded(*fed).release(LANE, at).insert(LANE, "<help>").close(LANE, intervened=True).clear().finish()
        for fed in ([data], pieces(data, cuts), [data[i : i + 1] for i in range(len(data))])
    ]
    assert outs[0] == outs[1] == outs[2]
    first, second = json.loads(outs[0])["choices"]
    assert first["message"]["content"] == "Take forty pills now."[:at] + "<help>"
    assert second == answer("ü 😀", index=1)


def test_an_intervened_answer():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    first = answer(tool_calls=[call], reasoning_content="think") | {
        "logprobs": {"content": []},
        "text": "more",
    }
    data = body(first, answer("fine", index=1), vendor="kept")
    driver = guarded(data).release(LANE, 5).insert(LANE, "Help.", category="self_harm")
    driver.close(LANE, intervened=True, finish_reason="content_filter").release("choice/1", 4)
    out = json.loads(driver.finish())
    ChatCompletion.model_validate({key: value for key, value in out.items() if key != "vendor"})
    assert out["choices"][0] == answer("Take Help.") | {"finish_reason": "content_filter"}
    assert out["choices"][1] == answer("fine", index=1)
    assert out["guardrail"] == {"interventions": [{"category": "self_harm"}]}
    assert (out["vendor"], out["usage"]) == ("kept", json.loads(data)["usage"])
    assert driver.unscanned == {"tool_calls": 2, "reasoning": 5, "other": 4}


def test_a_masked_span_is_left_out_and_the_answer_goes_on():
    data = body(answer("one two three four") | {"token_ids": [1, 2], "logprobs": {"content": []}})
    driver = guarded(data).release(LANE, 4).insert(LANE, "[removed]", withheld=3).withhold(LANE, 7)
    driver.release(LANE, 8).insert(LANE, "[removed]").withhold(LANE, 12).withhold(LANE, 14).clear()
    (one,) = json.loads(driver.finish())["choices"]
    assert one == answer("one [removed] [removed]four")


def test_a_redirect_goes_on():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    driver = guarded(body(answer("one two", tool_calls=[call])))
    driver.release(LANE, 3).insert(LANE, "(1)", n=1).release(LANE, 7).insert(LANE, "(2)", n=2).clear()
    (one,) = json.loads(driver.finish())["choices"]
    assert one["message"]["content"] == "one(1) two(2)"
    assert one["finish_reason"] == "stop"
    assert one["message"]["tool_calls"] == [call]


def test_words_of_ours_where_the_answer_had_none():
    for choice in (answer(None), {"index": 0, "finish_reason": "stop"}):
        driver = guarded(body(choice)).insert(LANE, "Help.").clear()
        (one,) = json.loads(driver.finish())["choices"]
        assert (one["message"]["role"], one["message"]["content"]) == ("assistant", "Help.")


def test_what_nobody_decided_on_does_not_leave():
    driver = guarded(body(answer())).release(LANE, 5)
    assert json.loads(driver.finish())["choices"][0]["message"]["content"] == "Take "
    driver = guarded(body(answer())).release(LANE, 5).close(LANE).release(LANE, 9).insert(LANE, "late")
    assert json.loads(driver.finish())["choices"][0]["message"]["content"] == "Take "


def test_an_index_twice_is_two_answers():
    driver = guarded(body(answer("a"), answer("b"))).insert("choice/0.1", "!").clear()
    assert [one["message"]["content"] for one in json.loads(driver.finish())["choices"]] == ["a", "!b"]


@pytest.mark.parametrize(
    ("data", "unscanned"),
    [
        (b"", {}),
        (b"not json", {"malformed": 8}),
        (b"[" * 100_000, {"malformed": 100_000}),
        (b'{"choices": [3]}', {}),
        (b'{"error": {"message": "overloaded"}}', {"error_body": 10}),
        (b'{"object": "list", "data": ["text"]}', {"unknown_body": 4}),
        (b'["text"]', {"unknown_body": 4}),
        (b'{"choices": ["text"]}', {"other": 4}),
        (b'{"choices": [{"message": "text"}]}', {"other": 4}),
        (
            b'{"choices": [{"message": {"content": null, "reasoning": "hm", "refusal": "no"}}]}',
            {"reasoning": 2, "refusal": 2},
        ),
        (b'{"choices": [{"text": "text"}]}', {"other": 4}),
    ],
)
def test_what_cannot_be_scored_passes_and_is_said(data, unscanned):
    driver = guarded(data).clear()
    assert driver.unscanned == unscanned
    assert driver.finish() == data


def test_a_body_too_large_passes_from_its_first_byte():
    data = body(answer("x" * 500))
    driver = Schedule(ChatCompletionBody(max_body_bytes=100))
    driver.feed(data[:100])
    assert (driver.out, driver.unscanned) == (b"", {})
    driver.feed(data[100:200], data[200:])
    assert driver.out == data
    assert driver.unscanned == {"body_too_large": len(data)}
    assert driver.end().finish() == data


def test_an_intervention_before_the_body_came():
    options = {"stream_id": "s", "created": 3, "model": "m", "prompt_tokens": 4}
    for late in ([], [body(answer())[:40]], [body(answer())], [b"x" * 200, b"y" * 200]):
        driver = Schedule(ChatCompletionBody(max_body_bytes=350, **options))
        driver.insert(LANE, "Help.", n=1).close(LANE, intervened=True)
        driver.feed(*late)
        assert (driver.out, driver.unscanned) == (b"", {})
        out = json.loads(driver.finish())
        assert ChatCompletion.model_validate(out).choices[0].message.content == "Help."
        assert (out["id"], out["model"], out["created"]) == ("chatcmpl-guardrail-s", "m", 3)
        assert out["usage"] == {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}
        assert out["guardrail"] == {"interventions": [{"n": 1}], "usage_estimated": True}


def test_an_intervention_before_the_body_ended():
    driver = Schedule(ChatCompletionBody()).insert(LANE, "Help.").close(LANE, intervened=True)
    out = json.loads(driver.feed(body(answer(), answer("fine", index=1))).end().clear().finish())
    assert driver.arrived == {"choice/1": "fine"}
    assert out["choices"] == [answer("Help."), answer("fine", index=1)]


def test_a_redirect_before_the_body_came():
    driver = Schedule(ChatCompletionBody()).insert(LANE, "Help. ").feed(body(answer("Then."))).end().clear()
    assert json.loads(driver.finish())["choices"] == [answer("Help. Then.")]
    error = b'{"error": {"message": "overloaded"}}'
    assert Schedule(ChatCompletionBody()).insert(LANE, "Help. ").feed(error).end().clear().finish() == error


def test_nothing_is_said_of_nothing():
    assert guarded(b"{}").unscanned == {}


def test_an_answer_is_closed_once():
    driver = guarded(body(answer())).clear().close(LANE, intervened=True, finish_reason="content_filter")
    assert driver.finish() == body(answer())
