"""The kit itself: what it lets through, what it refuses, and how it says so."""

from __future__ import annotations

import pytest

from guardrail.core import commands as do
from guardrail.core import events as on
from guardrail.core.spans import Span
from guardrail.core.stream import GuardedStream
from guardrail.testing.playbook import LanePlayer, Playbook
from tests.core.properties import WORDS, make


class Scripted:
    """A stream that answers the first event with what it is told."""

    def __init__(self, *commands):
        self.commands = list(commands)

    def handle(self, event):
        commands, self.commands = self.commands, []
        return commands


def test_a_script_that_holds_passes():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    book >> on.ChunkReceived("Hi there ") << [do.ScoreText(Span(0, 8), "Hi there")]


def test_a_script_that_parts_shows_everything_up_to_there():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    with pytest.raises(AssertionError) as failure:
        book >> on.ChunkReceived("Hi there ") << []
    report = str(failure.value)
    assert ">> PromptJudged" in report
    assert "expected []" in report
    assert "got [ScoreText" in report


def test_commands_nobody_expected_are_a_failure():
    book = Playbook(make())
    book >> on.PromptJudged()
    book >> on.ChunkReceived("Hi there ")
    with pytest.raises(AssertionError, match="commands nobody expected"):
        book >> on.LaneFinished()


@pytest.mark.parametrize(
    ("commands", "complaint"),
    [
        ([do.EndLane(intervened=False), do.ReleaseText(Span(0, 1), "a")], "a command after the end"),
        ([do.ScoreText(Span(0, 1), "a"), do.ScoreText(Span(1, 2), "b")], "two ScoreText out"),
        ([do.ReleaseText(Span(1, 2), "b")], "released out of order"),
    ],
)
def test_a_lane_that_misbehaves_is_caught(commands, complaint):
    with pytest.raises(AssertionError, match=complaint):
        LanePlayer(Scripted(*commands)).begin()


def test_a_lane_is_played_to_its_end():
    player = LanePlayer(make(), WORDS)
    player.begin()
    player.play(["So it is ", "calm doom doom."])
    assert player.released == "So it is calm"
    assert player.client == "So it is calm…\n\n[replace violence]"
    assert player.inserts[0].at == 13
    assert player.ended == do.EndLane(intervened=True)


def test_scores_come_when_the_test_says_so():
    player = LanePlayer(make(), WORDS)
    player.begin()
    assert not player.score(), "nothing was asked for"
    player.chunk("one two ")
    assert player.client == ""
    assert player.score()
    assert player.client == "one two"


def test_the_timer_fires_once_and_when_the_test_says_so():
    player = LanePlayer(make(), WORDS)
    player.begin()
    player.wake()
    assert player.waiting is None
    player.chunk("on")
    player.wake()
    assert player.waiting.tentative
    assert player.timer_s is None


def test_the_kit_plays_any_class_with_the_streams_shape():
    class Traced(GuardedStream):
        pass

    player = LanePlayer(make(Traced))
    player.begin()
    assert player.play(["fine."]).client == "fine."
