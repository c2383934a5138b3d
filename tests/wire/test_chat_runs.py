from __future__ import annotations

from guardrail.wire.chat_runs import Run, with_text

PAYLOAD = {"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}]}


def run() -> Run:
    made = Run(b"AABBBC", ["ab", "cde", "f"], [2, 3, 1], PAYLOAD)
    assert made.place(10) == 16
    return made


def test_only_whole_events_are_let_go_and_each_once():
    some = run()
    assert some.let_go(9) == some.let_go(10) == some.let_go(11) == b""
    assert some.let_go(14) == b"AA"
    assert len(some) == 2
    assert some.let_go(15) == b"BBB"
    assert some.let_go(15) == b""
    assert some.let_go(99) == b"C"
    assert len(some) == 0


def test_what_was_let_go_is_not_taken_apart_any_more():
    some = run()
    some.let_go(12)
    assert list(some.events()) == [
        (b"BBB", with_text(PAYLOAD, "cde"), 12, 15),
        (b"C", with_text(PAYLOAD, "f"), 15, 16),
    ]


def test_a_text_takes_the_place_of_another():
    assert with_text(PAYLOAD, "new") == {"id": "c", "choices": [{"index": 0, "delta": {"content": "new"}}]}
    assert PAYLOAD["choices"][0]["delta"] == {"content": "x"}
