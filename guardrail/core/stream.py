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
Rule 4: one ``ScoreText`` and one ``ComposeInsert`` are out at a time. What gathers meanwhile goes out
    together, so a step widens by itself under load.

Release
-------
At CLEAR a word leaves as soon as it was judged. The first word at WATCH pins the *hold point* in front
of it; nothing passes that point until the judge is CLEAR again (its hysteresis) or an intervention takes
the place of what is held. A pin that would hold more than ``max_held_chars`` moves up to the last sentence
end behind it: everything there was judged and no finding came of it.

Interventions wait in line as ``_Insert``: the release stops at the first one's position until its words
are there. A *terminal* one ends the lane.

Exact spans
-----------
A scorer may say that a token is *pending*: what comes may make it part of something longer, a card number
of which the first digits are here. Words from there on are not judged, hence not released, until a later
result no longer says so; by then the whole is a token that begins in earlier text. So the judge sees the
same tokens in the same order however the text was cut. A *mask* withholds its span and lets the text
behind it go on; it waits until all of the span may leave, so that spans which overlap become one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from guardrail.core.commands import (
    Command,
    ComposeInsert,
    EndLane,
    InsertText,
    NoteDecision,
    NoteFailure,
    NoteFindings,
    NoteUnscanned,
    ReleaseText,
    ScoreText,
    WakeAfter,
    WithholdText,
)
from guardrail.core.composition import Composition
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
from guardrail.core.json_view import Fit, JsonView
from guardrail.core.segments import ends_sentence, scorable, word_ends
from guardrail.core.spans import Span
from guardrail.core.splice import ClientView, after_insert
from guardrail.core.verdicts import Decision, FailureStance, Judge, Kind, Level, TokenScore, Verdict

_LOOK_BACK = 64  # code points before a position that say whether a sentence ends there


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


@dataclass(slots=True)
class _Insert:
    """An intervention with its place in the text, waiting for its words."""

    decision: Decision
    at: int
    terminal: bool
    following: str = ""
    """How the upstream goes on behind it."""
    until: int = 0
    """A mask's: where the upstream's text goes on."""
    fit: Fit | None = None
    """A mask's in a JSON text: how its words are written."""
    silent: bool = False
    """A mask that goes on with what the one before it began: its words have been said."""
    asked: bool = False

    @property
    def is_mask(self) -> bool:
        return self.until > self.at


@dataclass(slots=True)
class _Out:
    """The ``ScoreText`` that is out."""

    span: Span
    tentative: bool
    passed: bool = False
    """It was late and the policy said pass: its text has already left."""


class GuardedStream:
    """One lane of a guarded stream: a choice's text, from its first chunk to its end."""

    def __init__(self, judge: Judge, rules: LaneRules) -> None:
        self._judge = judge
        self._rules = rules
        self._text = HoldBack()
        self._view = ClientView()  # what the client reads, inserts included
        self._outline = ClientView()  # the upstream's own text, up to ``_judged``
        self._json = None if rules.prose else JsonView()  # and up to where it was released or masked
        self._masked = Span(0, 0)  # the last span that was masked
        self._commands: list[Command] = []
        self._prompt_judged = False
        self._finished = False  # the upstream said so
        self._closed = False  # we said so
        self._scored = 0
        self._judged = 0
        self._tokens: list[TokenScore] = []  # scored, not yet judged, in the order in which they will be
        self._pending: Sequence[TokenScore] = ()  # what the latest scores called so
        self._passed = 0  # what is pending before it was let go
        self._tried = 0  # up to where the open word was scored tentatively
        self._out: _Out | None = None
        self._timer_for: tuple[int, int] | None = None  # the open word the timer was set for
        self._hold_at: int | None = None
        self._unconfirmed_at: int | None = None  # where a risk begins that waits to be confirmed
        self._inserts: deque[_Insert] = deque()
        self._redirect: Decision | None = None  # waits for a natural boundary
        self._redirected: set[str] = set()
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
                self._timer_for = None
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
        out, self._out = self._out, None
        if out is None or self._closed or self._terminal:
            return
        if out.tentative:
            if self._calm and self._judge.would_clear(tokens) and not any(map(self._waits_for, tokens)):
                self._text.clear(out.span.end)
            return
        self._scored = out.span.end
        self._pending = [token for token in tokens if token.pending]
        self._judge_words([token for token in tokens if not token.pending])
        self._limit_pending()

    # -- judging -----------------------------------------------------------------------------------

    def _judge_words(self, tokens: Sequence[TokenScore]) -> None:
        """Judge what was scored, up to what is pending; ``tokens`` are new."""
        if tokens:
            # The longer one first: what stands inside of it is judged when its fate is known.
            self._tokens = sorted((*self._tokens, *tokens), key=lambda t: (t.span.start, -t.span.end))
        queue, self._tokens = deque(self._tokens), []
        first = start = self._judged
        text = self._text.text(first, self._scored)
        pending_at = self._pending_at
        for end in (first + end for end in word_ends(text, final=True)):
            if pending_at is not None and pending_at < end:
                break
            word = text[start - first : end - first]
            self._place_redirect(start, word)
            # A word without a token (white space, marks the classifier drops) changes nothing.
            level = Level.CLEAR if self._hold_at is None else Level.WATCH
            if queue and queue[0].span.start < end:
                level = Level.CLEAR
            while queue and queue[0].span.start < end:
                verdict = self._judge.judge(queue.popleft())
                level = max(level, verdict.level)
                self._unconfirmed_at = verdict.pending_at
                self._take_verdict(verdict, start)
                if self._terminal:
                    return
            self._read_judged(word)
            self._mark_word(Span(start, end), level)
            start = end
        self._tokens = list(queue)

    def _read_judged(self, text: str) -> None:
        """``text``, which follows what was judged, is judged, or never will be."""
        self._judged += len(text)
        self._outline.read(text)

    def _waits_for(self, token: TokenScore) -> bool:
        """Whether text from the token on must wait for what becomes of it."""
        waits = token.pending and token.span.start >= self._passed
        return waits and self._judge.prospect(token) > Level.CLEAR

    @property
    def _pending_at(self) -> int | None:
        """Where text begins that must wait for what becomes of it."""
        return min((token.span.start for token in self._pending if self._waits_for(token)), default=None)

    def _limit_pending(self) -> None:
        """End the wait of text that is pending for too long.

        What is found in it as it stands is acted on, as far as it has come; what follows goes on to wait. Of
        anything else nobody knows whether it may leave: the policy's stance for text that could not be
        scored says what is done.
        """
        waiting = [token for token in self._pending if self._waits_for(token)]
        if not waiting or self._terminal or self._scored - self._judged <= self._rules.max_held_chars:
            return
        if not self._rules.enforce:
            self._settle_pending()
            return
        first = min(waiting, key=lambda token: token.span.start)
        end = self._word_end_before(first.span.end)
        if self._judge.prospect(first) is Level.ACT and end > self._judged:
            unknown = dict.fromkeys(first.scores, 0.0)
            rest = TokenScore(Span(end, self._scored), unknown, pending=True)
            self._pending = [rest, *(token for token in self._pending if token.span.start >= end)]
            self._judge_words([TokenScore(Span(first.span.start, end), first.scores)])
            return
        stance, decision = self._judge.failure("pending")
        held = Span(self._judged, self._scored)
        self._commands.append(NoteFailure("pending", stance, held))
        if stance is FailureStance.HOLD:
            self._withholding = "pending"
        elif stance is FailureStance.REDIRECT:
            self._decide(decision, self._judged)
        else:
            self._own_up(self._judged, self._scored, "pending")
            self._passed = self._scored
            self._settle_pending()

    def _word_end_before(self, end: int) -> int:
        """The last end of a scored word that is not behind ``end``."""
        ends = word_ends(self._text.text(self._judged, self._scored), final=True)
        return max((self._judged + at for at in ends if self._judged + at <= end), default=self._judged)

    def _settle_pending(self) -> None:
        """Nothing that was pending is any more: it stands as it is."""
        pending, self._pending = self._pending, ()
        self._judge_words(pending)

    def _mark_word(self, word: Span, level: Level) -> None:
        """Clear the word, pin or lift the hold point."""
        if self._rules.enforce:
            if level is Level.CLEAR:
                self._hold_at = None
            elif self._hold_at is None:
                placed = max((insert.at for insert in self._inserts if not insert.is_mask), default=0)
                self._hold_at = max(word.start, self._text.released, placed)
            else:
                self._limit_hold(word)
        self._text.clear(word.end)

    def _limit_hold(self, word: Span) -> None:
        """Move the hold point up when it holds too much, but never past a risk that waits to be confirmed."""
        if self._hold_at is None or word.end - self._hold_at <= self._rules.max_held_chars:
            return
        free_to = word.start if self._unconfirmed_at is None else min(word.start, self._unconfirmed_at)
        self._hold_at = self._last_sentence_end(self._hold_at, max(self._hold_at, free_to))

    def _last_sentence_end(self, start: int, end: int) -> int:
        """The last sentence end in ``(start, end)`` that shows by what follows it, else ``end``."""
        text = self._text.text(start, end)
        for at in range(len(text) - 1, 0, -1):
            if ends_sentence(text[max(0, at - _LOOK_BACK) : at], text[at : at + 4]):
                return start + at
        return end

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
            self._mask(decision)
            return
        inapplicable = kind is Kind.REDIRECT and not self._rules.prose
        if not self._rules.enforce or kind is Kind.ANNOTATE or inapplicable:
            enforced = self._rules.enforce and not inapplicable
            self._commands.append(NoteDecision(decision, at, enforced=enforced))
            return
        if kind is Kind.REDIRECT:
            waiting = self._redirect
            graver = waiting is None or decision.finding.severity > waiting.finding.severity
            if graver and decision.finding.category not in self._redirected:
                self._redirected.add(decision.finding.category)
                self._redirect = decision
            return
        self._end_with(decision, at)

    def _end_with(self, decision: Decision, at: int) -> None:
        """A terminal insert, where the hold point or what has already left says.

        It takes the place of masks behind it, and of one it would stand in the middle of.
        """
        self._terminal = True
        self._redirect = None
        place = max(self._text.released, at if self._hold_at is None else self._hold_at)
        while self._inserts and not self._inserts[-1].asked and self._inserts[-1].until > place:
            place = min(place, self._inserts.pop().at)
        if self._inserts:
            place = max(place, self._inserts[-1].at, self._inserts[-1].until)
        self._inserts.append(_Insert(decision, place, terminal=True))

    def _mask(self, decision: Decision) -> None:
        """Put a mask in line for its finding's span, as far as that has not left.

        Spans that overlap are withheld as one, with the words of the first.
        """
        span = decision.finding.span
        released = self._text.released
        start, end = max(span.start, released), span.end
        silent = span.start < self._masked.end == released
        last = self._inserts[-1] if self._inserts else _Insert(decision, 0, terminal=False)
        overlaps = last.is_mask and not last.asked and start < last.until
        if overlaps:
            start, end = last.at, max(last.until, end)
        else:
            start = max(start, last.at, last.until)
        fit = None
        if self._json is not None and start < end:
            fit = self._fit(self._json, start, end)
            start, end = (start + fit.start, start + fit.end) if fit else (start, end)
        if not self._rules.enforce or (self._json is not None and fit is None):
            self._commands.append(NoteDecision(decision, span.start, enforced=False))
            return
        if start >= end:
            return
        if overlaps:
            self._inserts.pop()
            decision, silent = last.decision, last.silent
        self._inserts.append(_Insert(decision, start, terminal=False, until=end, fit=fit, silent=silent))

    def _fit(self, view: JsonView, start: int, end: int) -> Fit | None:
        """How ``[start, end)`` can be masked in a JSON text that ``view`` has read up to where it was released."""
        view, text = replace(view), self._text.text
        view.read(text(self._text.released, start))
        return view.fit(text(start - 1, start) if start else "", text(start, end), text(end, end + 1))

    def _place_redirect(self, at: int, word: str) -> None:
        """Put a waiting redirect in line if ``word``, at position ``at``, begins behind a boundary.

        Help does not wait for a watched lane to settle: the sentences before it were judged, so the hold
        point moves up to here, unless a risk in them still waits to be confirmed.
        """
        if self._redirect is None or at < self._text.released:
            return
        before = self._text.text(max(0, at - _LOOK_BACK), at)
        if self._outline.in_block or not ends_sentence(before, word):
            return
        if self._hold_at is not None and self._unconfirmed_at is not None and self._unconfirmed_at < at:
            return
        if self._inserts and self._inserts[-1].until > at:  # not in the middle of what is withheld
            return
        at += _lead(word)
        self._text.clear(at)  # a space carries no risk
        self._hold_at = None if self._hold_at is None else at
        self._inserts.append(_Insert(self._redirect, at, terminal=False, following=word))
        self._redirect = None

    # -- failure -----------------------------------------------------------------------------------

    def _delay(self, reason: str) -> None:
        out = self._out
        if out is None or self._closed or self._terminal or out.tentative or out.passed:
            return
        stance, _ = self._judge.failure(reason)
        self._commands.append(NoteFailure(reason, stance, out.span))
        # The other stances wait: the scores may still come, and ``ScoringFailed`` says when they will not.
        out.passed = stance is FailureStance.PASS and self._rules.enforce

    def _fail(self, reason: str) -> None:
        out, self._out = self._out, None
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

    def _skip(self, out: _Out, reason: str) -> None:
        """Let text leave that will never have a score, and say so (invariant 7)."""
        # What is pending never came to an end: nobody knows what it was.
        self._own_up(self._judged, out.span.end, reason)
        self._settle_pending()
        if self._terminal:
            return
        self._read_judged(self._text.text(self._judged, out.span.end))
        self._scored = out.span.end
        self._limit_hold(Span(out.span.end, out.span.end))
        self._text.clear(out.span.end)

    # -- moving on -----------------------------------------------------------------------------------

    def _advance(self) -> None:
        late = self._out is not None and self._out.passed
        if not self._terminal and (late or not self._rules.enforce):
            self._text.clear(self._text.arrived)
            self._late_to = self._text.arrived if late else 0
        self._score_words()
        self._wrap_up()
        self._flush()
        self._text.forget(self._judged)

    def _score_words(self) -> None:
        if self._out is not None or not self._prompt_judged or self._terminal or self._withholding:
            return
        start = self._scored
        text = self._text.text(start)
        size = scorable(text, final=self._finished)
        if size:
            self._send(Span(start, start + size), tentative=False)
        elif self._open_word_waits():
            self._set_timer()

    def _set_timer(self) -> None:
        """Once an open word, from its first character: a word that grows must not put its deadline off."""
        word = (self._scored, self._tried)
        if self._rules.open_word_deadline_s > 0 and self._timer_for != word:
            self._timer_for = word
            self._commands.append(WakeAfter(self._rules.open_word_deadline_s))

    def _open_word_waits(self) -> bool:
        """Whether there is open text that a reader waits for and that was not yet tried as it stands."""
        known = max(self._text.cleared, self._scored, self._tried)
        return self._text.arrived > known and not self._finished

    def _score_open_word(self) -> None:
        busy = self._out is not None or not self._prompt_judged
        if busy or self._closed or self._terminal or self._withholding or not self._open_word_waits():
            return
        self._tried = self._text.arrived
        if self._text.text(self._scored).strip():
            self._send(Span(self._scored, self._text.arrived), tentative=True)
        elif self._calm:  # the white space after a word, which only belongs to the next one
            self._text.clear(self._text.arrived)

    @property
    def _calm(self) -> bool:
        """Nothing is held, pending, or waits for a place in the text that is still to come."""
        settled = self._judged == self._scored and self._pending_at is None and self._hold_at is None
        return settled and self._redirect is None and not self._inserts

    def _send(self, span: Span, *, tentative: bool) -> None:
        text = self._text.text(span.start, span.end)
        # White space carries no token; a scorer need not see the last of it, but its positions count the rest.
        if self._finished and not text.strip():
            self._scored = span.end
            self._judge_words(())
            self._score_words()
            return
        self._out = _Out(span, tentative)
        self._commands.append(ScoreText(span, text, tentative))

    def _wrap_up(self) -> None:
        """All text has come: once all of it is judged, settle what was waiting."""
        if not self._finished or not self._prompt_judged or self._terminal or self._out is not None:
            return
        if self._withholding:
            _, decision = self._judge.failure(self._withholding)
            self._decide(decision, self._judged)
            return
        if self._settled or self._scored < self._text.arrived:
            return
        self._settle_pending()
        if self._terminal:
            return
        self._settled = True
        self._take_verdict(self._judge.finish(), self._judged)
        if self._terminal:
            return
        self._hold_at = None
        if self._redirect is not None:
            self._inserts.append(
                _Insert(self._redirect, self._text.arrived, terminal=False, following="\n\n")
            )
            self._redirect = None

    def _flush(self) -> None:
        """Release what may leave, up to the first insert that still wants its words."""
        if not self._prompt_judged and self._rules.enforce:
            return
        while True:
            limit = self._text.cleared if self._hold_at is None else min(self._hold_at, self._text.cleared)
            first = self._inserts[0] if self._inserts else None
            self._release(limit if first is None else min(limit, first.at))
            if first is None or (first.is_mask and limit < first.until):
                break
            if not first.silent:
                if not first.asked:
                    first.asked = True
                    self._commands.append(ComposeInsert(first.decision, first.at, at_start=self._view.empty))
                return
            self._inserts.popleft()
            self._withhold(first.until)
        if first is None and self._settled and self._text.released == self._text.arrived:
            self._close(intervened=False)

    def _release(self, end: int) -> None:
        if end > self._text.released:
            span, text = self._text.release(end)
            self._view.read(text)
            if self._json is not None:
                self._json.read(text)
            self._commands.append(ReleaseText(span, text))
            self._own_up(self._judged, min(end, self._late_to), "late")

    def _withhold(self, end: int) -> None:
        span, text = self._text.withhold(end)
        self._masked = span
        if self._json is not None:
            self._json.read(text)
        self._commands.append(WithholdText(span))

    def _own_up(self, start: int, end: int, reason: str) -> None:
        """Say, once, of text that it leaves without its scores (invariant 7)."""
        start = max(start, self._owned_to)
        if end > start:
            self._commands.append(NoteUnscanned(end - start, reason))
            self._owned_to = end

    def _insert(self, composition: Composition) -> None:
        if self._closed or not self._inserts or not self._inserts[0].asked:
            return
        insert = self._inserts.popleft()
        text = self._joined(insert, composition.text)
        self._view.read(text)
        withheld = insert.until - insert.at if insert.is_mask else 0
        self._commands.append(
            InsertText(
                insert.decision, insert.at, text, composition.wording, composition.resources, withheld
            ),
        )
        if insert.is_mask:
            self._withhold(insert.until)
        if insert.terminal:
            self._close(intervened=True)

    def _joined(self, insert: _Insert, words: str) -> str:
        """Our words with what joins them to the text around them."""
        if insert.is_mask:
            return insert.fit.worded(words) if insert.fit else words
        after = "" if insert.terminal else after_insert(insert.following)
        return self._view.before_insert() + words + after

    def _close(self, *, intervened: bool) -> None:
        self._closed = True
        self._out = None
        self._commands.append(EndLane(intervened))


def _lead(word: str) -> int:
    """How many spaces the word begins with; they stay with the text before it, unless they break its line."""
    body = word.lstrip()
    space = word[: len(word) - len(body)]
    return 0 if "\n" in space or "\r" in space else len(space)
