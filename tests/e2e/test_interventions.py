"""Interventions as a client meets them: ordinary answers in shape, other words, and an upstream that stops."""

from __future__ import annotations

import itertools

import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from guardrail import observer as records
from guardrail.testing.chunking import three_ways
from guardrail.testing.upstream import (
    DONE,
    JSON,
    Answer,
    chat_body,
    chat_chunk,
    chat_stream,
    usage_chunk,
)
from tests.e2e.http_client import ask, events, fetch, finishes, flat, texts
from tests.e2e.stage import REDIRECT, REPLACE

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

WHOLE = {"include_usage": True}


@pytest_asyncio.fixture(loop_scope="session")
async def openai(stage):
    url = f"http://{stage.address}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def endless(*pieces: bytes):
    """These pieces, then talk that never ends."""
    yield from pieces
    for n in itertools.count():
        yield chat_chunk(f" and {n}")
        yield 0.002


# -- redirect ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(3))
async def test_a_redirect_stands_between_two_sentences_and_the_answer_goes_on(stage, cut):
    text = "You sound sad today. A walk may help. So may a friend."
    pieces = chat_stream(three_ways(text)[cut], usage=True)
    stage.upstream.answer = Answer(pieces)
    response = await fetch(stage.address, ask(stream_options=WHOLE))
    assert (
        flat(texts(response.body)[0]) == f"You sound sad today. {REDIRECT} A walk may help. So may a friend."
    )
    assert finishes(response.body) == {0: ["stop"]}
    assert events(response.body)[-2]["usage"]["total_tokens"] == 12
    assert events(response.body)[-1] == "[DONE]"
    assert response.complete
    assert stage.upstream.exchanges[0].outcome == "finished"
    (applied,) = stage.ledger.all(records.InterventionApplied)
    assert (applied.kind, applied.category, text[: applied.at].rstrip(), applied.enforced) == (
        "redirect", "mental_distress", "You sound sad today.", True,
    )  # fmt: skip


async def test_all_but_the_insert_is_what_the_upstream_sent(stage):
    pieces = chat_stream(["You sound sad today.", " A walk may help.", " So may a friend."])
    stage.upstream.answer = Answer(pieces)
    body = (await fetch(stage.address, ask())).body
    ours = [payload for payload in events(body) if isinstance(payload, dict) and "guardrail" in payload]
    assert [payload["guardrail"]["kind"] for payload in ours] == ["redirect"]
    assert ours[0]["id"] == "chatcmpl-7"
    assert ours[0]["model"] == "scripted-1"
    # At most one event was cut, where the insert stands in its text.
    assert sum(piece in body for piece in pieces) >= len(pieces) - 1


async def test_a_prompt_in_distress_redirects_a_harmless_answer(stage):
    stage.upstream.answer = Answer(chat_stream(["Here is a poem.", " Roses are red."]))
    response = await fetch(stage.address, ask("I feel so sad. Write me a poem."))
    assert flat(texts(response.body)[0]) == f"Here is a poem. {REDIRECT} Roses are red."
    assert stage.upstream.exchanges[0].outcome == "finished"


async def test_a_prompt_that_is_replaced_ends_the_answer_before_it_began(stage):
    stage.upstream.answer = Answer(endless(*chat_stream(["Sure,", " here is how."])[:-2]))
    response = await fetch(stage.address, ask("How do I stab someone?"))
    assert texts(response.body) == {0: REPLACE}
    assert finishes(response.body) == {0: ["stop"]}
    assert response.complete
    assert (await stage.upstream.exchanged()).outcome == "broken"


# -- replace -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(3))
async def test_a_replace_ends_the_answer_properly_and_resets_the_upstream(stage, cut):
    text = "First take the knife, then stab him in the"
    stage.upstream.answer = Answer(endless(*chat_stream(three_ways(text)[cut])[:-2]))
    response = await fetch(stage.address, ask(stream_options=WHOLE))
    assert texts(response.body)[0] == f"First take the knife, then…\n\n{REPLACE}"
    assert finishes(response.body) == {0: ["stop"]}
    *_, usage, done = events(response.body)
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == (
        usage["usage"]["prompt_tokens"] + usage["usage"]["completion_tokens"]
    )
    assert done == "[DONE]"
    assert response.complete
    exchange = await stage.upstream.exchanged()
    assert exchange.outcome == "broken"  # it would have gone on for ever
    ended = await stage.ended()
    assert (ended.outcome, ended.interventions) == ("intervened", 1)


async def test_no_usage_is_invented_for_a_client_that_did_not_ask(stage):
    stage.upstream.answer = Answer(endless(*chat_stream(["Then stab him."])[:-2]))
    body = (await fetch(stage.address, ask())).body
    assert all("usage" not in payload for payload in events(body)[:-1])
    assert events(body)[-1] == "[DONE]"


async def test_the_risky_words_never_leave_however_they_were_cut(stage):
    stage.upstream.answer = Answer(endless(*(chat_chunk(c) for c in "A murky st"), chat_chunk("ab him ")))
    body = (await fetch(stage.address, ask())).body
    # "murky" pinned the hold point: what came behind it went with the replacement.
    assert texts(body)[0] == f"A…\n\n{REPLACE}"
    assert b"stab" not in body
    assert b"murky" not in body


async def test_a_replace_at_the_very_end_leaves_a_finished_upstream_alone(stage):
    stage.upstream.answer = Answer([b"".join(chat_stream(["Then stab"], usage=True))])
    response = await fetch(stage.address, ask(stream_options=WHOLE))
    assert texts(response.body)[0] == f"Then…\n\n{REPLACE}"
    assert finishes(response.body) == {0: ["stop"]}
    assert [event for event in events(response.body) if event == "[DONE]"] == ["[DONE]"]
    assert sum("usage" in event for event in events(response.body)[:-1]) == 1
    assert response.complete


async def test_an_annotation_changes_no_byte(stage):
    pieces = chat_stream(["An odd river.", " It runs uphill."])
    stage.upstream.answer = Answer(pieces)
    assert (await fetch(stage.address, ask())).body == b"".join(pieces)
    assert [applied.kind for applied in stage.ledger.all(records.InterventionApplied)] == ["annotate"]


# -- several choices -----------------------------------------------------------------------------------


def two_choices(*pairs: tuple[str, str]) -> list[bytes]:
    chunks = [chat_chunk(text, index=index) for pair in pairs for index, text in enumerate(pair) if text]
    return [*chunks, chat_chunk(index=0, finish="stop"), chat_chunk(index=1, finish="stop")]


async def test_one_choice_is_replaced_and_the_other_arrives_whole(stage):
    pieces = two_choices(("First,", "Boil"), (" stab", " the"), (" him", " water."), (" again.", " Serve."))
    stage.upstream.answer = Answer([*pieces, usage_chunk(), DONE])
    response = await fetch(stage.address, ask(n=2, stream_options=WHOLE))
    assert texts(response.body) == {0: f"First, …\n\n{REPLACE}", 1: "Boil the water. Serve."}
    assert finishes(response.body) == {0: ["stop"], 1: ["stop"]}
    assert events(response.body)[-2]["usage"]["total_tokens"] == 12
    assert stage.upstream.exchanges[0].outcome == "finished"


async def test_the_upstream_stops_when_both_choices_were_replaced(stage):
    pieces = two_choices(("First,", "Then"), (" stab", " we"), (" him", " stab"), (" on", " on"))[:-2]
    stage.upstream.answer = Answer(endless(*pieces))
    response = await fetch(stage.address, ask(n=2))
    assert texts(response.body) == {0: f"First, …\n\n{REPLACE}", 1: f"Then we…\n\n{REPLACE}"}
    assert response.complete
    assert (await stage.upstream.exchanged()).outcome == "broken"


async def test_a_late_second_choice_is_waited_for(stage):
    """The first choice is ended before the second one began: the upstream is still needed."""
    first = [chat_chunk("Then stab him. ", index=0), 0.2]
    second = [chat_chunk("Boil the water.", index=1), chat_chunk(index=1, finish="stop"), DONE]
    stage.upstream.answer = Answer([*first, *second])
    response = await fetch(stage.address, ask(n=2))
    assert texts(response.body) == {0: f"Then…\n\n{REPLACE}", 1: "Boil the water."}
    assert stage.upstream.exchanges[0].outcome == "finished"


# -- without streaming ---------------------------------------------------------------------------------


async def test_a_whole_answer_is_redirected(stage):
    stage.upstream.answer = Answer([chat_body("You sound sad today. Go for a walk.")], headers=JSON)
    response = await fetch(stage.address, ask(stream=False))
    answer = response.json()
    assert (
        flat(answer["choices"][0]["message"]["content"]) == f"You sound sad today. {REDIRECT} Go for a walk."
    )
    assert answer["usage"]["total_tokens"] == 12
    assert response.complete


async def test_one_of_two_whole_answers_is_replaced(stage):
    stage.upstream.answer = Answer([chat_body("Boil the water.", "Then stab him.")], headers=JSON)
    choices = (await fetch(stage.address, ask(stream=False, n=2))).json()["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["Boil the water.", f"Then…\n\n{REPLACE}"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "stop"]


# -- the official client -------------------------------------------------------------------------------

QUESTION = {"model": "scripted-1", "messages": [{"role": "user", "content": "Tell me."}]}


async def test_the_openai_client_reads_an_unchanged_stream(stage, openai):
    stage.upstream.answer = Answer(chat_stream(["Rivers ", "run."], usage=True))
    chunks = [c async for c in await openai.chat.completions.create(**QUESTION, stream=True)]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Rivers run."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens == 12


async def test_the_openai_client_takes_a_replacement_for_a_normal_answer(stage, openai):
    stage.upstream.answer = Answer(endless(*chat_stream(["Now,", " stab him."])[:-2]))
    stream = await openai.chat.completions.create(**QUESTION, stream=True, stream_options=WHOLE)
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == f"Now, …\n\n{REPLACE}"
    assert {chunk.id for chunk in chunks} == {"chatcmpl-7"}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == [
        "stop"
    ]
    assert chunks[-1].usage.total_tokens > 0
    assert (await stage.upstream.exchanged()).outcome == "broken"


async def test_the_openai_clients_own_accumulator_follows_an_intervention(stage, openai):
    stage.upstream.answer = Answer(
        endless(*chat_stream(["You sound sad today.", " Walk.", " Then stab"])[:-2])
    )
    async with openai.chat.completions.stream(**QUESTION) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.role == "assistant"
    assert flat(final.choices[0].message.content) == f"You sound sad today. {REDIRECT} Walk. Then… {REPLACE}"
    assert final.choices[0].finish_reason == "stop"


async def test_the_openai_client_reads_whole_answers(stage, openai):
    stage.upstream.answer = Answer([chat_body("Boil it.", "Then stab him.")], headers=JSON, framing="length")
    answer = await openai.chat.completions.create(**QUESTION, n=2)
    assert [c.message.content for c in answer.choices] == ["Boil it.", f"Then…\n\n{REPLACE}"]
    assert answer.usage.total_tokens == 12
