"""``GuardedStream``: the state machine of one lane.

Theory of operation
-------------------
Text arrives, is cut into words, goes out to be scored, comes back as tokens, is judged word by word,
and leaves. Five positions describe a lane at any time: released <= cleared <= arrived (invariant 1);
``scored``, up to where scores have come, and ``judged`` <= ``scored``, up to where the judge has seen
them. All of them are code points of upstream text.

Rule 1: every decision about what reaches the client is made here.
Rule 2: this file knows neither transport, clock, model nor thread; events in, commands out.
Rule 3: what is released, withheld and inserted is a function of the text and its scores, word by word,
    never of chunk borders or of when scores came (invariant 3). Hence every position is computed from
    the word at hand; only *how many* words a command carries depends on timing. There are two exceptions:
    the timer of the open word, which exists to not keep a reader waiting, and only releases; and what
    becomes of text that stays pending for longer than may be held.

What a lane remembers is kept by parts, each with its rules, in the order in which text meets them:

* ``holdback`` - the text and its watermarks.
* ``scoring`` - what goes out to be scored, one ``ScoreText`` at a time, and the open word's timer.
* ``pending`` - tokens that were scored and not yet judged, and text that waits for what comes.
* ``holdpoint`` - the position that no text of a watched lane passes.
* ``redirects`` - help that waits for a good place.
* ``inserts`` - interventions in line, each with its place; ``masks``, those of them that withhold text.
* ``downstream`` - what the client reads, and in which order.

None of them acts by itself: what follows from one for the others is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from guardrail.core.commands import (
    Command,
    EndLane,
    NoteDecision,
    NoteFailure,
    NoteFindings,
    NoteUnscanned,
    ReleaseText,
)
from guardrail.core.composition import Composition
from guardrail.core.downstream import Downstream
from guardrail.core.events import (
    ChunkReceived,
    Event,
    InsertComposed,
    LaneFinished,
    PromptJudged,
    ScoresReceived,
    ScoringDelayed,
    ScoringFailed,
    Woken,
)
from guardrail.core.holdback import HoldBack
from guardrail.core.holdpoint import HoldPoint
from guardrail.core.inserts import Insert, InsertQueue
from guardrail.core.masks import Masks
from guardrail.core.pending import UnjudgedTokens
from guardrail.core.redirects import Redirects
from guardrail.core.scoring import Out, Scoring
from guardrail.core.segments import word_ends
from guardrail.core.spans import Span
from guardrail.core.verdicts import Decision, FailureStance, Judge, Kind, Level, TokenScore, Verdict


@dataclass(frozen=True, slots=True)
class LaneRules:
    """What a policy says about holding and releasing, whatever the category."""

    enforce: bool = True
    """False (observe): text leaves as it arrives, even before the prompt is judged; decisions are only noted."""
    prose: bool = True
    """False: the text is JSON. Help inserted there would break it, so redirects are only noted; words that
    stand for a masked span are written as JSON."""
    open_word_deadline_s: float = 0.25
    """How long a word may stay open before it is scored as it stands; 0 switches the timer off."""
    max_held_chars: int = 800
    """How much the watch state may hold before it releases whole sentences, and how much may stay pending."""


class GuardedStream:
    """One lane of a guarded stream: a choice's text, from its first chunk to its end."""

    def __init__(self, judge: Judge, rules: LaneRules) -> None:
        self._judge = judge
        self._rules = rules
        self._text = HoldBack()
        self._scoring = Scoring(self._text, rules.open_word_deadline_s)
        self._tokens = UnjudgedTokens(judge)
        self._hold = HoldPoint(self._text, rules.max_held_chars)
        self._redirects = Redirects(self._text)
        self._inserts = InsertQueue()
        self._masks = Masks(self._text, self._inserts, prose=rules.prose)
        self._downstream = Downstream(self._text, self._inserts, self._masks)
        self._commands: list[Command] = []
        self._prompt_judged = False
        self._finished = False  # the upstream said so
        self._closed = False  # we said so
        self._judged = 0
        self._terminal = False  # an insert in line will end the lane
        self._withholding = ""  # why text that failed to be scored is held to the end (stance hold)
        self._late_to = 0  # up to where text may leave because its scores are late (stance pass)
        self._owned_to = 0  # up to where text was said to have left without them
        self._settled = False  # the judge has said its last word
        self._dropped = 0  # arrived after the lane was closed

    # -- what others may see -------------------------------------------------------------------

    @property
    def arrived(self) -> int:
        """Code points that have come, dropped ones included."""
        return self._text.arrived + self._dropped

    @property
    def cleared(self) -> int:
        """Code points judged fit to leave."""
        return self._text.cleared

    @property
    def released(self) -> int:
        """Up to where text has left, or words of a mask stand for it."""
        return self._text.released

    @property
    def masked(self) -> int:
        """Code points before ``released`` that did not leave."""
        return self._text.masked

    @property
    def held(self) -> int:
        """Code points that have come and may still leave."""
        return 0 if self._closed else self._text.held

    @property
    def closed(self) -> bool:
        """Whether ``EndLane`` was said."""
        return self._closed

    # -- events ----------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Command]:
        """Take one event; the commands it leads to, in the order in which to carry them out."""
        match event:
            case ChunkReceived(text=text):
                self._receive(text)
            case ScoresReceived(tokens=tokens):
                self._take_scores(tokens)
            case PromptJudged(decisions=decisions):
                self._take_prompt(decisions)
            case LaneFinished():
                self._finished = True
            case ScoringDelayed(reason=reason):
                self._delay(reason)
            case ScoringFailed(reason=reason):
                self._fail(reason)
            case InsertComposed(composition=composition):
                self._insert(composition)
            case Woken():
                self._scoring.timer_fired()
                self._score_open_word()
            case _:
                assert_never(event)
        if not self._closed:
            self._advance()
        commands, self._commands = self._commands, []
        return commands

    def _receive(self, text: str) -> None:
        if self._closed or self._terminal or self._withholding or self._finished:
            self._dropped += len(text)
            return
        self._text.append(text)

    def _take_prompt(self, decisions: Sequence[Decision]) -> None:
        if self._prompt_judged:
            return
        self._prompt_judged = True
        for decision in decisions:
            self._decide(decision, self._text.released)

    def _take_scores(self, tokens: Sequence[TokenScore]) -> None:
        out = self._scoring.answered()
        if out is None or self._closed or self._terminal:
            return
        if out.tentative:
            waits = any(map(self._tokens.must_wait, tokens))
            if self._calm and not waits and self._judge.would_clear(tokens):
                self._text.clear(out.span.end)
            return
        self._scoring.move_to(out.span.end)
        if self._nothing_comes_of(tokens):
            self._read_judged(self._text.text(self._judged, out.span.end))
            self._text.clear(out.span.end)
            return
        self._tokens.add(tokens)
        self._judge_words()
        self._limit_pending()

    # -- judging -----------------------------------------------------------------------------------

    def _nothing_comes_of(self, tokens: Sequence[TokenScore]) -> bool:
        """Whether judging ``tokens``, all there are, word by word would do nothing but clear the text, as is the rule."""
        waiting = self._hold.at is not None or self._redirects.waiting is not None or not self._tokens.empty
        return not waiting and not any(token.pending for token in tokens) and self._judge.passes(tokens)

    def _judge_words(self) -> None:
        """Judge what was scored, up to what must wait."""
        first = start = self._judged
        text = self._text.text(first, self._scoring.scored)
        waits_at = self._tokens.waits_at
        for end in (first + end for end in word_ends(text, final=True)):
            if waits_at is not None and waits_at < end:
                break
            word = text[start - first : end - first]
            self._place_redirect(start, word)
            tokens = self._tokens.take(end)
            # A word without a token (white space, marks the classifier drops) changes nothing.
            level = Level.CLEAR if tokens or self._hold.at is None else Level.WATCH
            for token in tokens:
                verdict = self._judge.judge(token)
                level = max(level, verdict.level)
                self._hold.unconfirmed_at = verdict.pending_at
                self._take_verdict(verdict, start)
                if self._terminal:
                    return
            self._read_judged(word)
            if self._rules.enforce:
                self._hold.mark(Span(start, end), level, self._inserts.placed)
            self._text.clear(end)
            start = end

    def _read_judged(self, text: str) -> None:
        """``text``, which follows what was judged, is judged, or never will be."""
        self._judged += len(text)
        self._redirects.read(text)

    def _limit_pending(self) -> None:
        """End the wait of text that is pending for too long.

        What is found in it as it stands is acted on, as far as it has come; what follows goes on to wait. Of
        anything else nobody knows whether it may leave: the policy's stance for text that could not be
        scored says what is done.
        """
        scored, first = self._scoring.scored, self._tokens.waited_for
        if first is None or self._terminal or scored - self._judged <= self._rules.max_held_chars:
            return
        if not self._rules.enforce:
            self._settle_pending()
            return
        end = self._word_end_before(first.span.end)
        if self._judge.prospect(first) is Level.ACT and end > self._judged:
            self._tokens.split(first, end, scored)
            self._judge_words()
            return
        stance, decision = self._judge.failure("pending")
        self._commands.append(NoteFailure("pending", stance, Span(self._judged, scored)))
        if stance is FailureStance.HOLD:
            self._withholding = "pending"
        elif stance is FailureStance.REDIRECT:
            self._decide(decision, self._judged)
        else:
            self._own_up(self._judged, scored, "pending")
            self._tokens.let_go(scored)
            self._judge_words()

    def _word_end_before(self, end: int) -> int:
        """The last end of a scored word that is not behind ``end``."""
        ends = word_ends(self._text.text(self._judged, self._scoring.scored), final=True)
        return max((self._judged + at for at in ends if self._judged + at <= end), default=self._judged)

    def _settle_pending(self) -> None:
        """Nothing that was pending is any more: it stands as it is."""
        self._tokens.settle()
        self._judge_words()

    def _take_verdict(self, verdict: Verdict, at: int) -> None:
        if verdict.findings:
            self._commands.append(NoteFindings(tuple(verdict.findings)))
        for mask in verdict.masks:
            self._decide(mask, at)
        if verdict.decision is not None:
            self._decide(verdict.decision, at)

    def _decide(self, decision: Decision, at: int) -> None:
        """Put a decision into effect for text from position ``at`` on."""
        kind = decision.kind
        if kind is Kind.ALLOW:
            return
        if kind is Kind.MASK:
            if not self._rules.enforce or not self._masks.place(decision):
                self._commands.append(NoteDecision(decision, decision.finding.span.start, enforced=False))
            return
        inapplicable = kind is Kind.REDIRECT and not self._rules.prose
        if not self._rules.enforce or kind is Kind.ANNOTATE or inapplicable:
            enforced = self._rules.enforce and not inapplicable
            self._commands.append(NoteDecision(decision, at, enforced=enforced))
            return
        if kind is Kind.REDIRECT:
            self._redirects.add(decision)
            return
        self._end_with(decision, at)

    def _end_with(self, decision: Decision, at: int) -> None:
        """A terminal insert, where the hold point or what has already left says."""
        self._terminal = True
        self._redirects.clear()
        place = at if self._hold.at is None else self._hold.at
        self._inserts.append_terminal(decision, max(self._text.released, place))

    def _place_redirect(self, at: int, word: str) -> None:
        """Put a waiting redirect in line if ``word``, at position ``at``, begins behind a boundary.

        Help does not wait for a watched lane to settle: the sentences before it were judged, so the hold
        point moves up to here, unless a risk in them still waits to be confirmed.
        """
        redirect = self._redirects.waiting
        if redirect is None or at < self._text.released:
            return
        place = self._redirects.place(at, word)
        withheld = self._inserts.end > at  # by a mask in line
        if place is None or withheld or not self._hold.may_move_to(at):
            return
        self._text.clear(place)  # a space carries no risk
        self._hold.move_to(place)
        self._inserts.append(Insert(redirect, place, following=word))
        self._redirects.clear()

    # -- failure -----------------------------------------------------------------------------------

    def _delay(self, reason: str) -> None:
        out = self._scoring.out
        if out is None or self._closed or self._terminal or out.tentative or out.passed:
            return
        stance, _ = self._judge.failure(reason)
        self._commands.append(NoteFailure(reason, stance, out.span))
        # The other stances wait: the scores may still come, and ``ScoringFailed`` says when they will not.
        out.passed = stance is FailureStance.PASS and self._rules.enforce

    def _fail(self, reason: str) -> None:
        out = self._scoring.answered()
        if out is None or self._closed or self._terminal or out.tentative:
            return
        stance, decision = self._judge.failure(reason)
        if not out.passed:
            self._commands.append(NoteFailure(reason, stance, out.span))
        if out.passed or stance is FailureStance.PASS or not self._rules.enforce:
            self._skip(out, reason)
        elif stance is FailureStance.HOLD:
            self._withholding = reason
        else:
            self._decide(decision, self._judged)

    def _skip(self, out: Out, reason: str) -> None:
        """Let text leave that will never have a score, and say so (invariant 7)."""
        # What is pending never came to an end: nobody knows what it was.
        self._own_up(self._judged, out.span.end, reason)
        self._settle_pending()
        if self._terminal:
            return
        self._read_judged(self._text.text(self._judged, out.span.end))
        self._scoring.move_to(out.span.end)
        self._hold.limit(Span(out.span.end, out.span.end))
        self._text.clear(out.span.end)

    # -- moving on -----------------------------------------------------------------------------------

    def _advance(self) -> None:
        out = self._scoring.out
        late = out is not None and out.passed
        if not self._terminal and (late or not self._rules.enforce):
            self._text.clear(self._text.arrived)
            self._late_to = self._text.arrived if late else 0
        self._score_words()
        self._wrap_up()
        self._flush()
        self._text.forget(self._judged)

    @property
    def _may_score(self) -> bool:
        return self._prompt_judged and not (self._closed or self._terminal or self._withholding)

    def _score_words(self) -> None:
        if not self._may_score:
            return
        if self._finished and self._scoring.skip_blank_end():
            self._judge_words()
        command = self._scoring.next_words(final=self._finished)
        if command is not None:
            self._commands.append(command)

    def _score_open_word(self) -> None:
        busy = self._finished or self._scoring.out is not None
        if not self._may_score or busy or not self._scoring.open_word_waits:
            return
        command = self._scoring.try_open_word()
        if command is not None:
            self._commands.append(command)
        elif self._calm:
            self._text.clear(self._text.arrived)

    @property
    def _calm(self) -> bool:
        """Nothing is held, pending, or waits for a place in the text that is still to come."""
        all_judged = self._judged == self._scoring.scored and self._tokens.waits_at is None
        return all_judged and self._hold.at is None and self._redirects.waiting is None and not self._inserts

    def _wrap_up(self) -> None:
        """All text has come: once all of it is judged, settle what was waiting."""
        if not self._finished or not self._prompt_judged or self._terminal or self._scoring.out is not None:
            return
        if self._withholding:
            _, decision = self._judge.failure(self._withholding)
            self._decide(decision, self._judged)
            return
        if self._settled or self._scoring.scored < self._text.arrived:
            return
        self._settle_pending()
        if self._terminal:
            return
        self._settled = True
        self._take_verdict(self._judge.finish(), self._judged)
        if self._terminal:
            return
        self._hold.lift()
        redirect = self._redirects.waiting
        if redirect is not None:
            self._inserts.append(Insert(redirect, self._text.arrived, following="\n\n"))
            self._redirects.clear()

    def _flush(self) -> None:
        """Release what may leave; when all of it has, the lane ends."""
        if not self._prompt_judged and self._rules.enforce:
            return
        for command in self._downstream.release(self._hold.free_to):
            self._commands.append(command)
            if isinstance(command, ReleaseText):
                self._own_up(self._judged, min(command.span.end, self._late_to), "late")
        if not self._inserts and self._settled and self._text.released == self._text.arrived:
            self._close(intervened=False)

    def _own_up(self, start: int, end: int, reason: str) -> None:
        """Say, once, of text that it leaves without its scores (invariant 7)."""
        start = max(start, self._owned_to)
        if end > start:
            self._commands.append(NoteUnscanned(end - start, reason))
            self._owned_to = end

    def _insert(self, composition: Composition) -> None:
        insert = self._inserts.first
        if self._closed or insert is None or not insert.asked:
            return
        self._commands += self._downstream.insert(insert, composition)
        if insert.terminal:
            self._close(intervened=True)

    def _close(self, *, intervened: bool) -> None:
        self._closed = True
        self._commands.append(EndLane(intervened))
