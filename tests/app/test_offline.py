"""``score`` and ``replay``: the contract of their files."""

from __future__ import annotations

import asyncio
import json

import pytest

from guardrail.app import offline
from guardrail.errors import InputError, ScoringError
from guardrail.policy.rules import CategoryRules, Timing
from guardrail.testing.chunking import by_character, randomly, three_ways, whole
from guardrail.testing.scorers import KeywordScorer
from tests.app.helpers import WORDS, read_answers, rules, services, write_rows

CALM = {"mental_distress": 0.0, "sexual": 0.0, "violence": 0.0}


@pytest.fixture
def run(tmp_path):
    async def runner(command, rows, **options):
        source, target = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
        done = []
        count = await command(options.pop("using", None) or services(**options), source, target, done.append)
        assert done == list(range(1, count + 1))
        answers = read_answers(target)
        assert [answer["id"] for answer in answers] == [row["id"] for row in rows]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
        return answers

    return runner


# -- score -----------------------------------------------------------------------------------------


async def test_a_flagged_text_is_scored_to_the_contract(run):
    (answer,) = await run(offline.score, [{"id": "a", "text": "So doom doom it is", "role": "assistant"}])
    assert answer == {
        "id": "a",
        "max": {"mental_distress": 0.0, "sexual": 0.0, "violence": 0.95},
        "flagged": True,
        "category": "violence",
        "severity": 3,
        "onset": 3,
    }


async def test_a_calm_text_has_no_onset(run):
    (answer,) = await run(offline.score, [{"id": 7, "text": "All is well.", "role": "user", "messages": []}])
    assert answer == {"id": 7, "max": CALM, "flagged": False, "category": None, "severity": 0, "onset": None}


async def test_an_empty_text_is_calm(run):
    (answer,) = await run(offline.score, [{"id": 1, "text": "", "role": "assistant"}])
    assert not answer["flagged"]


async def test_a_mild_annotated_finding_is_named_and_not_flagged(run):
    (answer,) = await run(offline.score, [{"id": 1, "text": "An odd thing", "role": "assistant"}])
    assert (answer["flagged"], answer["category"], answer["severity"], answer["onset"]) == (
        False,
        "sexual",
        1,
        3,
    )


async def test_each_role_is_judged_by_its_own_rules(run):
    rows = [{"id": role, "text": "tears", "role": role} for role in ("user", "assistant")]
    user, assistant = await run(offline.score, rows)
    assert (user["flagged"], assistant["flagged"]) == (True, False)


async def test_the_onset_counts_code_points_of_the_text_alone(run):
    messages = [{"role": "user", "content": "a long question before"}]
    row = {"id": 1, "text": "日本🙂 doom doom", "role": "assistant", "messages": messages}
    (answer,) = await run(offline.score, [row])
    assert answer["onset"] == 4


async def test_findings_in_the_turns_before_do_not_flag_the_text(run):
    messages = [{"role": "user", "content": "tears doom doom"}]
    (answer,) = await run(
        offline.score, [{"id": 1, "text": "Fine.", "role": "assistant", "messages": messages}]
    )
    assert (answer["flagged"], answer["max"]) == (False, CALM)


async def test_answers_keep_the_order_of_rows_that_take_different_times(run):
    delays = iter([0.03, 0.0] * 100)
    scorer = KeywordScorer(WORDS, delay_s=lambda: next(delays))
    rows = [{"id": n, "text": f"row {n}", "role": "user"} for n in range(100)]
    await run(offline.score, rows, using=services(scorer=scorer))
    assert scorer.open_lanes == 0


async def test_no_more_rows_than_the_bound_are_under_way(tmp_path):  # invariant 10
    most, now = 0, 0

    async def one(where, row):
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return row

    source = write_rows(tmp_path / "in.jsonl", [{"id": n} for n in range(200)])
    assert await offline._each(source, tmp_path / "out.jsonl", one, lambda _: None) == 200
    assert 1 < most <= offline.CONCURRENT_ROWS


async def test_ids_of_any_kind_come_back_as_they_were(run):
    ids = ["", "日本 🙂", 0, -1.5, None, ["a"], {"b": 1}]
    await run(offline.score, [{"id": name, "text": "x", "role": "user"} for name in ids])


# -- replay ----------------------------------------------------------------------------------------


def stream(text, name="s", cut=whole, question="Hello", **more):
    return {"id": name, "messages": [{"role": "user", "content": question}], "chunks": cut(text), **more}


async def test_a_calm_stream_comes_out_as_it_went_in(run):  # invariant 4
    text = "All is well.\r\n\r\n- one 🙂\n- two\n```\ncode\n```"
    (answer,) = await run(offline.replay, [stream(text, cut=by_character)])
    assert answer == {
        "id": "s",
        "client_text": text,
        "released_before": len(text),
        "interventions": [],
        "finish_reason": "stop",
        "withheld": 0,
    }


async def test_a_replaced_stream_is_replayed_to_the_contract(run):
    text = "It is so. Then doom doom and more of it."
    (answer,) = await run(offline.replay, [stream(text)], finish_reason="content_filter")
    (done,) = answer["interventions"]
    assert done == {
        "kind": "replace",
        "category": "violence",
        "severity": 3,
        "at": 14,
        "text": "…\n\n[replace violence]",
        "resources": [],
    }
    assert answer["client_text"] == text[:14] + done["text"]
    assert (answer["released_before"], answer["withheld"]) == (14, len(text) - 14)
    assert answer["finish_reason"] == "content_filter"


async def test_a_redirected_stream_goes_on(run):
    (answer,) = await run(offline.replay, [stream("One is said. Two is.", question="tears")])
    assert answer["client_text"] == "One is said. \n\n[redirect mental_distress]\n\nTwo is."
    assert (answer["released_before"], answer["withheld"], answer["finish_reason"]) == (13, 0, "stop")
    assert [done["kind"] for done in answer["interventions"]] == ["redirect"]


async def test_a_masked_span_is_replayed_to_the_contract(run):
    masking = services(
        scorer=KeywordScorer(WORDS, phrases={"4111 1111": {"privacy_pii": 0.9}}),
        categories={"privacy_pii": CategoryRules(assistant=rules({2: "mask"}, {2: 0.5}))},
    )
    for cut in (whole, by_character):
        (answer,) = await run(offline.replay, [stream("Pay by 4111 1111 now", cut=cut)], using=masking)
        assert answer == {
            "id": "s",
            "client_text": "Pay by [mask privacy_pii] now",
            "released_before": 7,
            "interventions": [
                {
                    "kind": "mask",
                    "category": "privacy_pii",
                    "severity": 2,
                    "at": 7,
                    "text": "[mask privacy_pii]",
                    "resources": [],
                }
            ],
            "finish_reason": "stop",
            "withheld": 9,
        }


async def test_an_annotation_is_listed_and_changes_no_text(run):
    (answer,) = await run(offline.replay, [stream("An odd thing.")])
    assert answer["client_text"] == "An odd thing."
    assert [(done["kind"], done["text"]) for done in answer["interventions"]] == [("annotate", "")]
    assert answer["released_before"] == len("An odd thing.")


async def test_an_observing_policy_changes_nothing_and_lists_what_it_would_do(run):
    (answer,) = await run(offline.replay, [stream("So doom doom.")], mode="observe")
    assert (answer["client_text"], answer["withheld"]) == ("So doom doom.", 0)
    assert [done["kind"] for done in answer["interventions"]] == ["replace"]


TEXTS = [
    "Calm text only, of two sentences. That is all.",
    "It is so. Then doom doom and more.",
    "Grim grim from the start.",
    "- a list\n- grim and\n\nthen it settles. And goes on and on and on. Yes.",
    "```\ncode doom doom\n```",
    "日本語。tears 这很好。然后 doom。",
    "",
    "odd",
]


async def test_invariant_3_a_stream_cut_otherwise_is_replayed_alike(run):
    rows = [
        stream(text, name=[n, m, question], cut=lambda _, chunks=chunks: chunks, question=question)
        for n, text in enumerate(TEXTS)
        for question in ("Hello", "tears")
        for m, chunks in enumerate((*three_ways(text), randomly(text, 3, 12.0)))
    ]
    answers = {}
    for answer in await run(offline.replay, rows, timing=Timing(open_word_deadline_ms=0)):
        n, _, question = answer.pop("id")
        answers.setdefault((n, question), []).append(answer)
    for same in answers.values():
        assert all(answer == same[0] for answer in same)


async def test_a_stream_without_chunks_ends_without_text(run):
    (answer,) = await run(offline.replay, [{"id": 1, "messages": [], "chunks": []}])
    assert (answer["client_text"], answer["finish_reason"]) == ("", "stop")


async def test_empty_chunks_are_no_trouble(run):
    (answer,) = await run(offline.replay, [{"id": 1, "chunks": ["", "a ", "", "b", ""]}])
    assert answer["client_text"] == "a b"


async def test_a_stream_that_cannot_be_scored_ends_as_the_policy_says(run):  # invariant 6
    scorer = KeywordScorer(WORDS, fail=lambda text: "broken" in text)
    (answer,) = await run(
        offline.replay,
        [stream("It is so. A broken thing.")],
        using=services(scorer=scorer, on_failure="redirect"),
    )
    assert answer["interventions"][0]["category"] == "failure"
    assert scorer.open_lanes == 0


async def test_a_replayed_stream_frees_all_it_held(run):  # invariant 10
    scorer = KeywordScorer(WORDS)
    await run(
        offline.replay, [stream(text, name=n) for n, text in enumerate(TEXTS)], using=services(scorer=scorer)
    )
    assert scorer.open_lanes == 0


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [offline.score, offline.replay], ids=["score", "replay"])
async def test_an_empty_file_gives_an_empty_file(command, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("")
    assert await command(services(), source, target, lambda _: None) == 0
    assert target.read_text() == ""


GOOD_SCORE = {"id": 0, "text": "x", "role": "user"}
GOOD_REPLAY = {"id": 0, "chunks": ["x"]}


@pytest.mark.parametrize(
    ("command", "good", "bad", "reason"),
    [
        (offline.score, GOOD_SCORE, {"id": 1, "role": "user"}, "text is missing"),
        (offline.score, GOOD_SCORE, {"id": 1, "text": 5, "role": "user"}, "text must be a string"),
        (offline.score, GOOD_SCORE, {"id": 1, "text": "x"}, "role must be one of"),
        (offline.score, GOOD_SCORE, {"id": 1, "text": "x", "role": "bot"}, "got 'bot'"),
        (offline.score, GOOD_SCORE, {"id": 1, "text": "x", "role": "user", "messages": 3}, "must be a list"),
        (offline.score, GOOD_SCORE, {"text": "x", "role": "user"}, "id is missing"),
        (offline.replay, GOOD_REPLAY, {"id": 1}, "chunks must be a list of strings"),
        (offline.replay, GOOD_REPLAY, {"id": 1, "chunks": "text"}, "chunks must be a list of strings"),
        (offline.replay, GOOD_REPLAY, {"id": 1, "chunks": ["a", 2]}, "chunks must be a list of strings"),
        (offline.replay, GOOD_REPLAY, {"id": 1, "chunks": [], "locale": 4}, "locale must be a string"),
        (offline.replay, GOOD_REPLAY, {"id": 1, "chunks": [], "messages": [1]}, r"messages\[0\]"),
    ],
    ids=str,
)
async def test_a_bad_row_is_refused_with_its_line_and_nothing_is_written(
    command, good, bad, reason, tmp_path
):
    # Far enough in that answers were already made and written to the side.
    source = write_rows(tmp_path / "in.jsonl", [good] * 79 + [bad, good])
    target = tmp_path / "out.jsonl"
    target.write_text("what was there before")
    with pytest.raises(InputError, match=f"in.jsonl:80.*{reason}"):
        await command(services(), source, target, lambda _: None)
    assert target.read_text() == "what was there before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


async def test_a_scorer_that_fails_leaves_no_half_written_output(tmp_path):
    scorer = KeywordScorer(WORDS, fail=lambda text: text == "bad")
    source = write_rows(tmp_path / "in.jsonl", [GOOD_SCORE] * 40 + [GOOD_SCORE | {"text": "bad"}])
    with pytest.raises(ScoringError):
        await offline.score(services(scorer=scorer), source, tmp_path / "out.jsonl", lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


async def test_an_output_that_cannot_be_written_is_bad_input(tmp_path):
    source = write_rows(tmp_path / "in.jsonl", [GOOD_SCORE])
    with pytest.raises(InputError, match="No such file"):
        await offline.score(services(), source, tmp_path / "nowhere" / "out.jsonl", lambda _: None)


async def test_a_file_can_be_answered_in_its_own_place(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [GOOD_SCORE | {"id": n} for n in range(3)])
    assert await offline.score(services(), path, path, lambda _: None) == 3
    assert [answer["id"] for answer in read_answers(path)] == [0, 1, 2]


async def test_other_scripts_are_written_as_they_are(run, tmp_path):
    await run(offline.replay, [stream("日本🙂")])
    raw = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "日本🙂" in raw
    assert json.loads(raw)["client_text"] == "日本🙂"
