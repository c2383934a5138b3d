"""Play events against a ``GuardedStream`` and see what its client would see.

``LanePlayer`` is the smallest driver there is: it answers ``ScoreText`` from a word list and
``ComposeInsert`` from a composer, when the test says so, and keeps the client's text. ``Playbook`` is a
language on top: a script of events and expected commands that prints where they part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from guardrail.core import commands as do
from guardrail.core import events as on
from guardrail.core.composition import CompositionRequest
from guardrail.core.spans import Span
from guardrail.core.stream import GuardedStream
from guardrail.core.verdicts import Decision
from guardrail.testing.composers import PlainComposer
from guardrail.testing.scorers import Scores, score_phrases, score_words


@dataclass
class LanePlayer:
    """One lane, played step by step.

    Args:
        stream: the lane under test.
        words: what the scripted scorer knows.
        phrases: what it finds whole.
    """

    stream: GuardedStream
    words: Mapping[str, Scores] = field(default_factory=dict)
    phrases: Mapping[str, Scores] = field(default_factory=dict)
    composer: PlainComposer = field(default_factory=PlainComposer)
    client: str = ""
    """All the client got, inserts included."""
    released: str = ""
    """The upstream text the client got."""
    position: int = 0
    """Up to where the upstream's text was released, or masked."""
    inserts: list[do.InsertText] = field(default_factory=list)
    withheld: list[Span] = field(default_factory=list)
    """What masks stand for."""
    notes: list[do.Command] = field(default_factory=list)
    heard: str = ""
    """The text the scorer was shown."""
    waiting: do.ScoreText | None = None
    """The ``ScoreText`` that is out."""
    timer_s: float | None = None
    ended: do.EndLane | None = None

    def tell(self, event: on.Event) -> None:
        """Hand over one event, compose at once what is asked for, and keep what comes of it."""
        events = [event]
        while events:
            for command in self.stream.handle(events.pop(0)):
                assert self.ended is None or isinstance(command, do.NoteFindings), "a command after the end"
                match command:
                    case do.ScoreText():
                        assert self.waiting is None, "two ScoreText out at a time"
                        self.waiting = command
                    case do.ReleaseText():
                        assert command.span.start == self.position, "released out of order"
                        self.position = command.span.end
                        self.released += command.text
                        self.client += command.text
                    case do.ComposeInsert():
                        request = CompositionRequest(command.decision, at_start=command.at_start)
                        events.append(on.InsertComposed(self.composer.compose(request)))
                    case do.InsertText():
                        assert command.at == self.position, "inserted at another place than said"
                        self.inserts.append(command)
                        self.client += command.text
                    case do.WithholdText(span=span):
                        assert span.start == self.position, "withheld at another place than released"
                        self.position = span.end
                        self.withheld.append(span)
                    case do.WakeAfter(delay_s=delay_s):
                        self.timer_s = delay_s
                    case do.EndLane():
                        self.ended = command
                    case _:
                        self.notes.append(command)

    def begin(self, decisions: Sequence[Decision] = ()) -> None:
        """The prompt is judged."""
        self.tell(on.PromptJudged(tuple(decisions)))

    def chunk(self, text: str) -> None:
        """Text arrives."""
        self.tell(on.ChunkReceived(text))

    def score(self) -> bool:
        """Answer the ``ScoreText`` that is out; false when there is none."""
        wanted, self.waiting = self.waiting, None
        if wanted is None:
            return False
        assert wanted.span.start == len(self.heard), "the scorer was not shown all of the text"
        tokens = score_words(wanted.text, wanted.span.start, self.words)
        tokens += score_phrases(self.heard, wanted.text, self.phrases)
        if not wanted.tentative:
            self.heard += wanted.text
        self.tell(on.ScoresReceived(tuple(tokens)))
        return True

    def fail(self, reason: str = "error") -> None:
        """The ``ScoreText`` that is out gets no scores."""
        wanted, self.waiting = self.waiting, None
        assert wanted is not None, "nothing is out that could fail"
        if not wanted.tentative:
            self.heard += wanted.text
        self.tell(on.ScoringFailed(reason))

    def score_all(self) -> None:
        """Answer until nothing is out."""
        while self.score():
            pass

    def wake(self) -> None:
        """The timer fires, if one is set."""
        if self.timer_s is not None:
            self.timer_s = None
            self.tell(on.Woken())

    def play(self, chunks: Iterable[str], *, score_each: bool = True) -> LanePlayer:
        """The whole lane: chunks, scores (after each chunk, or all at the end), the end."""
        for text in chunks:
            self.chunk(text)
            if score_each:
                self.score_all()
        self.tell(on.LaneFinished())
        self.score_all()
        return self


class Playbook:
    """A script: ``>>`` an event, ``<<`` the commands it must lead to.

    Example:
        >>> book = Playbook(stream)
        >>> book >> PromptJudged() << []
        >>> book >> ChunkReceived("Hi there ") << [ScoreText(Span(0, 8), "Hi there")]
    """

    def __init__(self, stream: GuardedStream) -> None:
        self._stream = stream
        self._log: list[str] = []
        self._got: list[do.Command] = []

    def __rshift__(self, event: on.Event) -> Playbook:
        """Send an event; what came of the one before must have been asserted or empty."""
        if self._got:
            raise AssertionError(self._report(f"commands nobody expected: {self._got}"))
        self._log.append(f">> {event}")
        self._got = self._stream.handle(event)
        return self

    def __lshift__(self, expected: Sequence[do.Command]) -> Playbook:
        """The commands that must have come, all of them, in order."""
        if list(expected) != self._got:
            raise AssertionError(self._report(f"expected {list(expected)}\n     got {self._got}"))
        self._log.extend(f"<< {command}" for command in self._got)
        self._got = []
        return self

    def _report(self, problem: str) -> str:
        return "\n".join([*self._log, problem])
