from __future__ import annotations

from guardrail.telemetry.bounds import LabelBounds, OpenStreams


def test_a_label_takes_a_limited_number_of_values():
    bounds = LabelBounds(limit=2)

    assert [bounds.admit("what", value) for value in ("a", "b", "c", "a")] == ["a", "b", "other", "a"]
    assert bounds.admit("reason", "c") == "c"  # each label has its own room


def test_a_label_takes_words_only():
    bounds = LabelBounds()

    assert bounds.admit("what", "a whole sentence") == "other"
    assert bounds.admit("what", "") == "other"


def test_ill_formed_values_take_no_room():
    bounds = LabelBounds(limit=1)
    for n in range(10):
        bounds.admit("what", f"sentence {n}")

    assert bounds.admit("what", "image") == "image"


def test_a_note_lives_from_opening_to_end():
    streams: OpenStreams[int] = OpenStreams()

    assert streams.open("a", 1) is None
    assert streams.get("a") == 1
    assert streams.close("a") == 1
    assert streams.close("a") is None
    assert streams.get("a") is None


def test_a_repeated_id_pushes_the_earlier_note_out():
    streams: OpenStreams[int] = OpenStreams()
    streams.open("a", 1)

    assert streams.open("a", 2) == 1
    assert streams.get("a") == 2


def test_a_full_table_pushes_the_oldest_note_out():
    streams: OpenStreams[int] = OpenStreams(limit=2)
    streams.open("a", 1)
    streams.open("b", 2)

    assert streams.open("c", 3) == 1
    assert streams.drain() == [2, 3]
    assert streams.drain() == []
