"""One streamed answer: what passes untouched, what waits, and what is ours."""

from __future__ import annotations

import httpx
import pytest
from openai import OpenAI, Stream
from openai.types.chat import ChatCompletionChunk
from wire_streams import Schedule, choice, chunk, payloads, sse, texts

from guardrail.wire.chat_completions import ChatCompletionsStream

LANE = "choice/0"
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def guarded(*data: bytes, **options) -> Schedule:
    return Schedule(ChatCompletionsStream(**options)).feed(*data)


def finishes(out: bytes) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for payload in payloads(out):
        for one in payload["choices"] if isinstance(payload, dict) else []:
            if one.get("finish_reason"):
                found.setdefault(one["index"], []).append(one["finish_reason"])
    return found


def read_by_openai(out: bytes) -> list[ChatCompletionChunk]:
    """The bytes through the client library's own reader."""
    response = httpx.Response(
        200,
        content=out,
        headers={"content-type": "text/event-stream"},
        request=httpx.Request("POST", "http://u"),
    )
    with OpenAI(api_key="-", base_url="http://u") as client:
        return list(Stream(cast_to=ChatCompletionChunk, response=response, client=client))


ANSWER = [
    chunk(choice("", role="assistant")),
    chunk(choice("Take ")),
    chunk(choice("forty pills")),
    chunk(choice(" now.")),
    chunk(choice(finish="stop")),
]


# Passing on


def test_an_answer_nobody_touches_is_the_upstreams_own():
    data = sse(*ANSWER, chunk(usage=USAGE), "[DONE]")
    driver = guarded(data)
    assert driver.arrived == {LANE: "Take forty pills now."}
    assert driver.finished == [LANE]
    assert driver.clear().end().finish() == data


def test_what_carries_no_text_leaves_at_once():
    first = b": warming up\n\n" + sse(
        chunk(choice("", role="assistant")), chunk(choice(None, role="assistant"))
    )
    driver = guarded(first, sse(chunk(choice("Hi"))))
    assert driver.out == first


def test_a_tool_call_answer_needs_no_release():
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    calls = sse(chunk(choice(None, content=None, tool_calls=[call])))
    driver = guarded(calls)
    assert driver.out == calls
    assert driver.unscanned == {"tool_calls": 5}


def test_text_waits_for_its_release_and_leaves_whole():
    driver = guarded(sse(chunk(choice("one")), chunk(choice(" two"))))
    assert driver.out == b""
    assert driver.release(LANE, 2).out == b""
    assert driver.release(LANE, 3).out == sse(chunk(choice("one")))
    assert driver.release(LANE, 6).out == sse(chunk(choice("one")))
    assert driver.release(LANE, 7).out == sse(chunk(choice("one")), chunk(choice(" two")))


def test_comments_and_strangers_wait_their_turn():
    tail = b": ping\n\n" + sse({"type": "stranger"}, '{"broken')
    driver = guarded(sse(chunk(choice("a"))), tail)
    assert driver.out == b""
    assert driver.release(LANE, 1).out == sse(chunk(choice("a"))) + tail
    assert driver.unscanned == {"malformed": 8}


def test_the_finish_waits_for_the_close_and_so_does_what_ends_the_answer():
    finish, end = sse(chunk(choice(finish="length"))), sse(chunk(usage=USAGE), "[DONE]")
    driver = guarded(sse(chunk(choice("a"))), finish, end)
    assert driver.release(LANE, 1).out == sse(chunk(choice("a")))
    assert driver.close(LANE).out == sse(chunk(choice("a"))) + finish + end


def test_done_waits_for_every_lane():
    data = sse(chunk(choice("a")), chunk(choice("b", index=1)), "[DONE]")
    driver = guarded(data)
    assert driver.finished == ["choice/0", "choice/1"]
    driver.release("choice/0", 1).release("choice/1", 1).close("choice/0")
    assert b"[DONE]" not in driver.out
    assert driver.close("choice/1").out == data


def test_a_preface_without_choices_does_not_wait_for_the_end():
    preface = sse(chunk(prompt_filter_results=[]))
    assert guarded(preface + sse(chunk(choice("a")))).out == preface


def test_a_stream_the_upstream_left_unfinished_stays_as_it_was():
    for data in (sse(ANSWER[1]), sse(*ANSWER), sse(ANSWER[1])[:-1], b"data: {", b": ping", b""):
        driver = guarded(data, include_usage=True).end()
        assert driver.clear().finish() == data


def test_a_truncated_last_event_is_guarded_too():
    driver = guarded(sse(chunk(choice("a"))), sse(chunk(choice("b")))[:-2]).end()
    assert driver.arrived == {LANE: "ab"}
    driver.release(LANE, 1)
    assert texts(bytes(driver.out)) == {0: "a"}
    driver.close(LANE, intervened=True)
    assert texts(driver.finish()) == {0: "a"}


def test_a_missing_or_odd_index_is_the_first_lane():
    for odd in ({}, {"index": None}, {"index": "0"}, {"index": True}):
        data = sse(chunk({**odd, "delta": {"content": "a"}}))
        driver = guarded(data)
        assert (driver.arrived, driver.out) == ({LANE: "a"}, b"")
        assert driver.release(LANE, 1).out == data


@pytest.mark.parametrize(
    "payload",
    [
        "null",
        "7",
        "[]",
        "{}",
        '{"choices": {}}',
        '{"choices": null}',
        '{"choices": [null, 3]}',
        '{"choices": [{}]}',
        '{"choices": [{"delta": null}]}',
        '{"choices": [{"delta": {"content": 7}}]}',
        "[" * 100_000,
        "9" * 5_000,
        "",
    ],
)
def test_nonsense_passes(payload):
    data = sse(payload)
    assert guarded(data).out == data


def test_what_is_not_scored_is_said():
    driver = guarded(
        sse(
            chunk(choice(None, reasoning_content="think", refusal="no")),
            chunk(choice(None, reasoning="again")),
            chunk(choice(None, function_call={"name": "f", "arguments": "{}"})),
            chunk(choice(None, tool_calls=[7, {"custom": {"name": "g", "input": "xyz"}}])),
            chunk(choice(None, audio={"transcript": "hello"})),
            chunk(choice(None, content=[{"type": "text", "text": "part"}])),
            chunk(choice(None, thoughts="hmm")),
            chunk({"index": 0, "message": {"content": "all of it"}}),
            {"content": "bare"},
        )
    )
    assert driver.unscanned == {
        "reasoning": 10,
        "refusal": 2,
        "tool_calls": 5,
        "audio": 5,
        "content_parts": 8,
        "other": 12,
        "unknown_event": 4,
    }


def test_text_after_the_finish_is_said_to_be_unscanned():
    data = sse(chunk(choice("a", finish="stop")), chunk(choice("b", finish="stop")))
    driver = guarded(data)
    assert (driver.finished, driver.unscanned) == ([LANE], {"after_finish": 1})
    assert driver.clear().end().finish() == data


def test_an_empty_finish_reason_finishes_nothing():
    driver = guarded(sse(chunk(choice("a", finish=""))))
    assert driver.finished == []


def test_an_upstream_error_passes_in_its_turn():
    error = sse({"error": {"message": "out of memory", "code": 500}})
    driver = guarded(sse(chunk(choice("a"))), error).end()
    assert driver.out == b""
    assert driver.clear().finish() == sse(chunk(choice("a"))) + error


def test_half_a_surrogate_pair_counts_and_can_be_encoded():
    data = sse(
        r'{"choices":[{"delta":{"content":"\ud83d"}}]}', r'{"choices":[{"delta":{"content":"\ude00!"}}]}'
    )
    driver = guarded(data)
    assert driver.arrived == {LANE: "\ufffd\ufffd!"}
    driver.release(LANE, 2).insert(LANE, " Wait.")
    assert driver.release(LANE, 3).clear().end().finish().count(rb"\ude00") == 1


def test_an_oversized_event_passes_unread_and_is_said_so():
    large = sse(chunk(choice("x" * 500)))
    data = sse(chunk(choice("a"))) + large + sse(chunk(choice("b")))
    driver = guarded(*(data[i : i + 50] for i in range(0, len(data), 50)), max_event_bytes=300)
    assert (driver.arrived, driver.unscanned) == ({LANE: "ab"}, {"oversized_event": len(large)})
    assert driver.out == b""
    assert driver.clear().end().finish() == data


# Words of ours


def test_words_of_ours_look_like_the_streams_own():
    driver = guarded(sse(*ANSWER[:3], chunk(choice(" now."), service_tier="flex")))
    driver.release(LANE, 5).insert(LANE, "Wait.", category="self_harm")
    (*_, ours) = payloads(bytes(driver.out))
    assert ours == {
        "id": "chatcmpl-7",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m-1",
        "system_fingerprint": "fp_1",
        "service_tier": "flex",
        "choices": [{"index": 0, "delta": {"content": "Wait."}, "logprobs": None, "finish_reason": None}],
        "guardrail": {"category": "self_harm"},
    }


def test_an_event_is_cut_where_words_of_ours_come():
    cut = chunk(
        choice("forty pills", role="assistant", refusal=None)
        | {"logprobs": {"content": []}, "token_ids": [1]},
        usage=USAGE,
    )
    driver = guarded(sse(cut, chunk(choice(" now."))))
    driver.release(LANE, 6).insert(LANE, " Wait.")
    before, _ = payloads(bytes(driver.out))
    assert before["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "forty "},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    assert "usage" not in before
    driver.release(LANE, 16)
    rest, last = payloads(bytes(driver.out))[2:]
    assert rest["choices"][0]["delta"] == {"content": "pills", "refusal": None}
    assert rest["usage"] == USAGE
    assert last == chunk(choice(" now."))
    assert bytes(driver.out).endswith(sse(chunk(choice(" now."))))  # untouched again


def test_a_redirect_goes_on_and_ends_as_the_upstream_ends():
    driver = guarded(sse(*ANSWER, chunk(usage=USAGE), "[DONE]"))
    driver.release(LANE, 8).insert(LANE, "[help]").clear()
    out = driver.end().finish()
    assert texts(out) == {0: "Take for[help]ty pills now."}
    assert finishes(out) == {0: ["stop"]}
    assert payloads(out)[-2:] == [chunk(usage=USAGE), "[DONE]"]
    assert [c.choices[0].delta.content for c in read_by_openai(out) if c.choices][1:5] == [
        "Take ",
        "for",
        "[help]",
        "ty pills",
    ]


def test_a_masked_span_is_taken_out_of_every_event_that_carries_some_of_it():
    told = choice("cut forty", role="assistant") | {"logprobs": {"content": []}, "token_ids": [1]}
    driver = guarded(sse(chunk(told, usage=USAGE), chunk(choice(" red ")), chunk(choice("pills now"))))
    driver.release(LANE, 4).insert(LANE, "[removed]", withheld=15).withhold(LANE, 19)
    driver.feed(sse(chunk(choice(finish="stop")), "[DONE]")).clear()
    out = driver.end().finish()
    assert texts(out) == {0: "cut [removed] now"}
    assert finishes(out) == {0: ["stop"]}
    before, ours, emptied, gone, rest, *_ = payloads(out)
    assert before["choices"][0]["delta"] == {"role": "assistant", "content": "cut "}
    assert ours["guardrail"] == {"withheld": 15}
    # What stands for the text in another way must not tell it either.
    assert emptied["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}
    assert emptied["usage"] == USAGE
    assert gone["choices"][0]["delta"] == {}
    assert rest["choices"][0]["delta"] == {"content": " now"}
    assert [one.choices[0].delta.content or "" for one in read_by_openai(out)] == [
        "cut ",
        "[removed]",
        "",
        "",
        " now",
        "",
    ]


def test_a_mask_at_the_start_names_the_role_in_the_upstreams_place():
    driver = guarded(sse(chunk(choice("4111", role="assistant")), chunk(choice(" is it", finish="stop"))))
    driver.insert(LANE, "[removed]").withhold(LANE, 4).clear()
    out = driver.end().finish()
    assert texts(out) == {0: "[removed] is it"}
    deltas = [payload["choices"][0]["delta"] for payload in payloads(out)]
    assert [delta.get("role") for delta in deltas] == ["assistant", None, None]


def test_released_text_that_waits_for_another_lane_is_not_masked():
    driver = guarded(sse(chunk(choice("one two", index=0), choice("other", index=1))))
    driver.release(LANE, 4).insert(LANE, "[removed]").withhold(LANE, 7)
    driver.feed(sse(chunk(choice(" three", index=0))))
    driver.release(LANE, 13).release("choice/1", 5)
    assert texts(bytes(driver.out)) == {0: "one [removed] three", 1: "other"}


def test_masks_that_touch_come_one_after_the_other():
    driver = guarded(sse(chunk(choice("one")), chunk(choice("two")), chunk(choice("three"))))
    driver.insert(LANE, "[1]").withhold(LANE, 3).insert(LANE, "[2]").withhold(LANE, 6)
    driver.withhold(LANE, 8)  # without words: it goes on
    assert texts(bytes(driver.clear().out)) == {0: "[1][2]ree"}


def test_nothing_is_withheld_on_a_closed_lane():
    driver = guarded(sse(chunk(choice("one"))))
    driver.close(LANE, intervened=True).withhold(LANE, 3)
    assert texts(bytes(driver.out)) == {}


def test_words_of_ours_come_before_the_finish():
    driver = guarded(sse(chunk(choice("all", finish="stop")), "[DONE]"))
    driver.release(LANE, 3).insert(LANE, " Help.").close(LANE)
    out = driver.end().finish()
    assert texts(out) == {0: "all Help."}
    first, ours, finish, done = payloads(out)
    assert [p["choices"][0]["finish_reason"] for p in (first, ours, finish)] == [None, None, "stop"]
    assert done == "[DONE]"


def test_words_of_ours_first_name_the_role_once():
    driver = guarded(sse(chunk(choice("bad", role="assistant")), chunk(choice(" more", role="assistant"))))
    driver.insert(LANE, "Hello. ").feed(sse(chunk(choice(" end", role="assistant", finish="stop")), "[DONE]"))
    out = driver.clear().end().finish()
    assert texts(out) == {0: "Hello. bad more end"}
    assert [p["choices"][0]["delta"].get("role") for p in payloads(out)[:-1]] == [
        "assistant",
        None,
        None,
        None,
    ]


def test_words_of_ours_before_any_chunk():
    driver = guarded(stream_id="s1", created=5, model="m", include_usage=True, prompt_tokens=3)
    driver.insert(LANE, "Hello.").close(LANE, intervened=True)
    out = driver.finish()
    first, last, usage, done = payloads(out)
    assert (first["id"], first["object"], first["created"], first["model"]) == (
        "chatcmpl-guardrail-s1",
        "chat.completion.chunk",
        5,
        "m",
    )
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "Hello."}
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
    assert done == "[DONE]"


def test_a_second_insert_comes_after_the_first():
    driver = guarded(sse(chunk(choice("b", index=1)), chunk(choice("one two"))))
    driver.release(LANE, 3).insert(LANE, "(1)").insert(LANE, "(2)")
    driver.release(LANE, 7).release("choice/1", 1)
    assert texts(bytes(driver.out)) == {0: "one(1)(2) two", 1: "b"}


def test_words_of_ours_use_the_streams_line_ends():
    driver = guarded(sse(*ANSWER[:2], newline="\r\n")).insert(LANE, "Wait.").close(LANE, intervened=True)
    out = driver.finish()
    assert out.count(b"\n") == out.count(b"\r\n") == 2 * len(payloads(out))


def test_words_of_ours_after_a_truncated_event():
    driver = guarded(b"data: {", b"").end()
    assert driver.out == b"data: {"
    driver.insert(LANE, "Wait.").close(LANE, intervened=True)
    assert driver.finish().startswith(b'data: {\n\ndata: {"id"')


def test_nothing_is_inserted_on_a_closed_lane():
    driver = guarded(sse(*ANSWER, "[DONE]")).clear()
    before = bytes(driver.out)
    assert driver.insert(LANE, "late").close(LANE, intervened=True).finish() == before


def test_a_lane_of_another_dialect_is_an_error():
    with pytest.raises(ValueError, match="not a lane"):
        ChatCompletionsStream().insert("output/0", "x", {})


# Ends of ours


def test_a_lane_an_intervention_closed():
    driver = guarded(sse(*ANSWER[:4]), include_usage=True, prompt_tokens=20)
    driver.release(LANE, 5).insert(LANE, "Help.").close(LANE, intervened=True, finish_reason="content_filter")
    # The upstream did not hear of it yet.
    driver.feed(sse(chunk(choice(None, tool_calls=[{"function": {"arguments": "secret"}}])), ANSWER[4]))
    out = driver.finish()
    assert texts(out) == {0: "Take Help."}
    assert finishes(out) == {0: ["content_filter"]}
    assert b"secret" not in out
    usage, done = payloads(out)[-2:]
    assert usage["usage"] == {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23}
    assert (usage["choices"], usage["guardrail"]) == ([], {"usage_estimated": True})
    assert done == "[DONE]"
    assert [c.id for c in read_by_openai(out)] == ["chatcmpl-7"] * 5


def test_usage_the_upstream_counted_is_used():
    driver = guarded(
        sse(chunk(choice("ab"), usage=USAGE), chunk(choice("c"), usage=None)), include_usage=True
    )
    usage, _ = payloads(driver.close(LANE, intervened=True).finish())[-2:]
    assert usage["usage"] == USAGE
    assert "guardrail" not in usage


def test_no_usage_nobody_asked_for():
    out = guarded(sse(ANSWER[1])).close(LANE, intervened=True).finish()
    assert [p if isinstance(p, str) else p["choices"][0]["finish_reason"] for p in payloads(out)] == [
        "stop",
        "[DONE]",
    ]


def test_what_the_upstream_still_ended_is_not_ended_twice():
    driver = guarded(sse(*ANSWER), include_usage=True).release(LANE, 5)
    driver.insert(LANE, "Help.").close(LANE, intervened=True)
    out = driver.feed(sse(chunk(usage=USAGE), "[DONE]")).end().finish()
    assert finishes(out) == {0: ["stop"]}
    assert payloads(out)[-2:] == [chunk(usage=USAGE), "[DONE]"]
    assert out.count(b"[DONE]") == out.count(b'"usage"') == 1


def test_a_stream_is_over_after_its_end():
    driver = guarded(sse(ANSWER[1])).close(LANE, intervened=True)
    out = driver.finish()
    assert driver.feed(sse(ANSWER[2], "[DONE]")).end().finish() == out


def test_an_upstream_that_died_on_another_lane_is_not_ended_for_it():
    driver = guarded(sse(chunk(choice("a"), choice("b", index=1)))).close(LANE, intervened=True)
    out = driver.end().clear().finish()
    assert texts(out) == {1: "b"}
    assert b"[DONE]" not in out


def test_a_lane_that_finished_and_a_lane_that_was_ended_end_the_stream():
    driver = guarded(sse(chunk(choice("a"), choice("b", index=1)), chunk(choice(index=1, finish="stop"))))
    out = driver.close(LANE, intervened=True).clear().finish()
    assert finishes(out) == {0: ["stop"], 1: ["stop"]}
    assert payloads(out)[-1] == "[DONE]"


def test_an_event_with_other_lanes_goes_on_without_the_ended_one():
    both = chunk(choice("bad "), choice("good ", index=1), usage=USAGE)
    driver = guarded(sse(both)).close(LANE, intervened=True).feed(sse(both)).clear()
    out = driver.feed(sse(chunk(choice(index=1, finish="stop")), "[DONE]")).clear().end().finish()
    assert texts(out) == {1: "good good "}
    assert [p["usage"] for p in payloads(out) if p != "[DONE]" and "usage" in p] == [USAGE, USAGE]
    assert finishes(out) == {0: ["stop"], 1: ["stop"]}


def test_what_nobody_read_is_dropped_behind_an_intervention():
    unread = sse('{"choices": [{"index": 0, "delta": {"content": "bad', {"content": "bad"}, chunk("bad"))
    large = sse(chunk(choice("x" * 900)))
    driver = guarded(sse(ANSWER[1]), unread, large, max_event_bytes=300).close(LANE, intervened=True)
    driver.feed(unread, large[:600], large[600:], sse("[DONE]"))
    assert driver.unscanned["oversized_event"] == len(large)
    finish, done = payloads(driver.end().finish())
    assert finishes(sse(finish)) == {0: ["stop"]}
    assert done == "[DONE]"


def test_an_ended_lane_that_had_finished_stays_ended():
    driver = guarded(sse(chunk(choice("bad", finish="stop")))).close(LANE, intervened=True)
    driver.feed(sse(chunk(choice("more", finish="stop")), chunk(choice("more", index=1))))
    out = driver.clear().end().finish()
    assert (texts(out), finishes(out)) == ({1: "more"}, {0: ["stop"]})


def test_one_choice_twice_in_an_event():
    driver = guarded(sse(chunk(choice("one "), choice("two "), choice("three"), "junk")))
    driver.release(LANE, 6).insert(LANE, "<help>")
    assert texts(bytes(driver.out)) == {0: "one tw<help>"}
    assert texts(bytes(driver.release(LANE, 13).out)) == {0: "one tw<help>o three"}


def test_an_error_after_the_last_lane_was_ended_is_dropped():
    error = sse({"error": {"message": "cancelled"}})
    driver = guarded(sse(ANSWER[1]), error).close(LANE, intervened=True).feed(error)
    assert b"error" not in driver.finish()


def test_an_error_on_a_lane_that_goes_on_passes():
    error = sse({"error": {"message": "out of memory"}})
    driver = guarded(sse(chunk(choice("a"), choice("b", index=1))), error).close(LANE, intervened=True)
    assert error in driver.end().clear().finish()


def test_words_of_ours_never_stand_inside_an_oversized_event():
    large = b'data: {"x": "' + b"y" * 900
    driver = guarded(large, max_event_bytes=300)
    assert driver.out == large
    driver.insert(LANE, "Help.").close(LANE, intervened=True)
    assert driver.out == large
    whole = guarded(large, max_event_bytes=300).insert(LANE, "Help.").feed(b'"}\n\n')
    assert whole.out.startswith(large + b'"}\n\ndata: ')
    assert driver.finish().startswith(large + b"\n\ndata: ")


def test_text_withheld_without_an_intervention_does_not_leave():
    driver = guarded(sse(*ANSWER[:4], chunk(choice(None, tool_calls=[])), ANSWER[4], "[DONE]"))
    driver.release(LANE, 8).close(LANE)
    out = driver.end().finish()
    assert texts(out) == {0: "Take for"}
    assert finishes(out) == {0: ["stop"]}
    assert payloads(out)[-1] == "[DONE]"


def test_text_that_comes_after_a_lane_was_closed_does_not_leave():
    driver = guarded(sse(ANSWER[1])).release(LANE, 5).close(LANE).feed(sse(*ANSWER[2:]))
    assert texts(driver.end().finish()) == {0: "Take "}


def test_what_nobody_decided_on_does_not_leave():
    assert texts(guarded(sse(*ANSWER, "[DONE]")).release(LANE, 7).finish()) == {0: "Take fo"}


def test_a_lane_closed_with_text_withheld_holds_up_no_other():
    driver = guarded(sse(chunk(choice("ab", finish="stop")))).release(LANE, 1).close(LANE)
    late = sse(chunk(choice(None, tool_calls=[])), chunk(choice("c", index=1)))
    assert driver.feed(late).release("choice/1", 1).out.endswith(late)


def test_a_release_never_goes_back():
    driver = guarded(sse(ANSWER[1])).release(LANE, 3)
    assert texts(bytes(driver.release(LANE, 1).insert(LANE, "<help>").out)) == {0: "Tak<help>"}


def test_an_oversized_event_dropped_while_it_came_is_not_kept():
    driver = guarded(sse(ANSWER[1]), b"data: " + b"x" * 500, max_event_bytes=300).close(LANE, intervened=True)
    driver.feed(*[b"x" * 500] * 100)
    assert driver.unscanned == {"oversized_event": 506}
    assert b"xx" not in driver.finish()
