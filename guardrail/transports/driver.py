"""``StreamDriver``: carries out what the core commands for one guarded stream.

Theory of operation. All state lives on one event loop; ``_tell`` hands one event to one lane's
``GuardedStream`` and carries its commands out on the spot, so the core never sees two things at once.
A lane has one task that scores, because the core has one ``ScoreText`` out at a time. The user's turns
are scored first, on the conversation that every lane then forks.

Bounds (invariant 10): outputs that nobody collects stop ``chunk`` from returning; scores have a deadline
and are given up on; ``cancel`` frees tasks, timers and scoring work, whatever state they are in.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from guardrail.core import commands as do
from guardrail.core import events as on
from guardrail.core.composition import Composition, CompositionRequest
from guardrail.core.stream import GuardedStream, LaneRules
from guardrail.core.verdicts import Decision, FailureStance, Finding, Role
from guardrail.engine.scorer import LaneScorer
from guardrail.errors import GuardrailError, OverloadedError, ScoringError
from guardrail.policy.judge import LaneJudge
from guardrail.policy.prompt import judge_turn, settle
from guardrail.transports.context import extend, recent, split
from guardrail.transports.feed import LaneFeed, patience_s
from guardrail.transports.mailbox import Mailbox
from guardrail.transports.outputs import (
    FindingNoted,
    Inserted,
    Intervention,
    LaneClosed,
    Output,
    Released,
    StreamClosed,
    StreamOpening,
    UpstreamStopped,
    Withheld,
)
from guardrail.transports.reporter import StreamReporter, Totals
from guardrail.transports.services import Services, mode_in_force
from guardrail.transports.tasks import log_defect, spawn

MAX_WAITING_OUTPUTS = 4096
"""Outputs that may wait for the transport before ``chunk`` stops taking text."""
MAX_HELD_CHARS = 256 * 1024
"""Text that may wait for its scores before ``chunk`` stops taking more; one chunk may exceed it."""
USER_LANE = "user"
_UNSCANNED_BECAUSE = {
    "error": "failure"
}  # what text counts as that left because scoring failed; else the reason


@dataclass(slots=True)
class _Lane:
    """One lane: its state machine and what is in flight for it."""

    name: str
    guard: GuardedStream
    wanted: asyncio.Queue[do.ScoreText]
    worker: asyncio.Task[None] | None = None
    feed: LaneFeed | None = None
    timer: asyncio.TimerHandle | None = None
    """Rings at ``wake_at`` or earlier."""
    wake_at: float = 0.0
    """When the core wants to be woken, in the loop's time."""
    inserted: int = 0
    finished: bool = False
    """The upstream has finished it by itself."""


class StreamDriver:
    """One guarded stream, from its opening to ``StreamClosed``."""

    def __init__(self, opening: StreamOpening, services: Services) -> None:
        self._opening = opening
        self._services = services
        self._policy = services.policy
        self.policy_name = services.policy.name
        self.mode = mode_in_force(services.policy.mode, opening.mode)
        timing, hold = self._policy.timing, self._policy.hold_back
        self._rules = LaneRules(
            enforce=self.mode == "enforce",
            prose=not opening.structured,
            open_word_deadline_s=timing.open_word_deadline_ms / 1000,
            max_held_chars=hold.max_held_chars,
        )
        self._locale = opening.locale or self._policy.default_locale
        self._lanes: dict[str, _Lane] = {}
        self._report = StreamReporter(services.observer, opening, services.clock)
        self._outputs: Mailbox[Output] = Mailbox()
        self._room = asyncio.Event()
        self._room.set()
        self._conversation: LaneScorer | None = None
        self._prompt: Sequence[Decision] | None = None  # None: not judged yet
        self._prompt_task: asyncio.Task[None] | None = None
        self._ended = False
        self._stopped = False
        self._closed = False

    # -- what a transport calls ------------------------------------------------------------------

    async def start(self) -> None:
        """Begin: the prompt goes to the scorer while the upstream is still working on it."""
        opening = self._opening
        self._report.opened(self.policy_name, self.mode, self._locale)
        for what, chars in opening.unscanned.items():
            self.note_unscanned(what, chars)
        self._prompt_task = spawn(self._judge_prompt(), name=f"prompt {opening.stream_id}")

    async def chunk(self, lane: str, text: str) -> None:
        """Text arrived on a lane; waits while transport or scorer are behind."""
        await self._room.wait()
        if not self._closed:
            self._tell(self._lane(lane), on.ChunkReceived(text))

    async def end_lane(self, lane: str) -> None:
        """The upstream finished a lane."""
        if not self._closed:
            found = self._lane(lane)
            found.finished = True
            self._tell(found, on.LaneFinished())

    async def end(self) -> None:
        """The upstream ended: lanes still open get no more text."""
        self._ended = True
        for lane in list(self._lanes.values()):
            if not self._closed:
                self._tell(lane, on.LaneFinished())
        self._maybe_close()

    async def outputs(self) -> AsyncIterator[Output]:
        """Everything that must reach the client, in order, up to and including ``StreamClosed``."""
        async for some in self.batches():
            for output in some:
                yield output

    async def batches(self) -> AsyncIterator[Sequence[Output]]:
        """The same, all that waits at a time: lets a transport put many outputs into one message."""
        over = False
        while not over:
            some = await self._outputs.take()
            if not self._room.is_set():
                self._update_room()
            over = isinstance(some[-1], StreamClosed)
            yield some

    async def cancel(self, outcome: str) -> None:
        """Give up: the client left, the upstream broke or we did. Frees everything; idempotent."""
        self._close(outcome)

    def note_unscanned(self, what: str, chars: int) -> None:
        """Text went by that nobody scored."""
        if not self._closed:
            self._report.unscanned(what, chars)

    # -- the prompt ----------------------------------------------------------------------------------

    async def _judge_prompt(self) -> None:
        """Score the conversation and tell every lane what it means for the answer."""
        try:
            self._set_prompt(await self._prompt_decisions())
        except Exception as error:  # noqa: BLE001 - a stream that waits for ever is worse than one that ends
            self._break(error)

    async def _prompt_decisions(self) -> Sequence[Decision]:
        judge = LaneJudge(self._policy, Role.USER)
        timing = self._policy.timing
        stance, _ = judge.failure("late")
        limit_ms = timing.scoring_deadline_ms if stance is FailureStance.PASS else timing.abandon_ms
        try:
            async with asyncio.timeout(limit_ms / 1000):
                return await self._score_prompt(judge)
        except TimeoutError:
            reason = "late"
        except OverloadedError:
            reason = "overload"
        except GuardrailError:
            reason = "error"
        except Exception as error:  # noqa: BLE001 - whatever a scorer raises, the policy says what follows
            log_defect("a guarded stream", error)
            reason = "error"
        self._drop_conversation()
        stance, failure = judge.failure(reason)
        chars = sum(len(turn.text) for turn in self._opening.conversation)
        self._report.failed(USER_LANE, reason, stance, chars)
        self.note_unscanned("prompt", chars)
        return () if stance is FailureStance.PASS else (failure,)

    async def _score_prompt(self, judge: LaneJudge) -> list[Decision]:
        conversation = self._conversation = self._services.scorer.open()
        patience = patience_s(self._policy.timing, judge.failure("overload")[0])
        decisions: list[Decision] = []
        remembered: list[Decision] = []
        earlier, fresh = split(self._opening.conversation)
        shown = recent(earlier)
        self.note_unscanned(
            "earlier_turns", sum(len(turn.text) for turn in earlier[: len(earlier) - len(shown)])
        )
        for number, turn in enumerate((*shown, *fresh)):
            conversation.begin_turn(turn.role)
            began = self._services.clock()
            judged = turn.role is Role.USER
            tokens = await extend(conversation, turn.text, patience_s=patience, scored=judged)
            self._report.scored(USER_LANE, len(tokens), len(turn.text), began)
            if not judged:
                continue
            if number < len(shown):
                before = judge_turn(LaneJudge(self._policy, Role.USER), turn.text, tokens)
                remembered += [verdict.decision for verdict in before if verdict.decision]
                continue
            for verdict in judge_turn(judge, turn.text, tokens):
                self._note_findings(USER_LANE, verdict.findings)
                decisions += [verdict.decision] if verdict.decision else []
        # A lane has room for one redirect at a time and ends at the first replacement: order matters.
        return settle(decisions, remembered)

    def _set_prompt(self, decisions: Sequence[Decision]) -> None:
        if self._closed:
            return
        self._prompt = decisions
        for lane in list(self._lanes.values()):
            self._begin_lane(lane)
        self._maybe_close()

    def _drop_conversation(self) -> None:
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None

    # -- lanes -----------------------------------------------------------------------------------------

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            judge = LaneJudge(self._policy, Role.ASSISTANT)
            lane = self._lanes[name] = _Lane(name, GuardedStream(judge, self._rules), asyncio.Queue(1))
            if self._prompt is not None:
                self._begin_lane(lane)
        return lane

    def _begin_lane(self, lane: _Lane) -> None:
        """The prompt is judged: the lane gets its scorer and may begin."""
        assert self._prompt is not None
        base, reopen = self._conversation, self._services.scorer.open
        scorer = reopen() if base is None else base.fork()
        scorer.begin_turn(Role.ASSISTANT)
        stance = FailureStance.PASS  # in observe mode text leaves, whatever becomes of its scores
        if self._rules.enforce:
            stance = self._policy.stance(Role.ASSISTANT, overload=True)
        lane.feed = LaneFeed(scorer, reopen, self._policy.timing, stance, self._services.clock)
        lane.worker = spawn(self._score_lane(lane), name=f"lane {lane.name} {self._opening.stream_id}")
        self._tell(lane, on.PromptJudged(tuple(self._prompt)))

    async def _score_lane(self, lane: _Lane) -> None:
        """Score what the lane wants scored, one piece after the other."""
        timing = self._policy.timing
        loop = asyncio.get_running_loop()
        while not (lane.guard.closed or self._closed):
            wanted = await lane.wanted.get()
            assert lane.feed is not None
            event: on.Event = on.ScoringFailed("error")
            late = loop.call_later(timing.scoring_deadline_ms / 1000, self._tell, lane, on.ScoringDelayed())
            try:
                began = self._services.clock()
                async with asyncio.timeout(timing.abandon_ms / 1000):
                    tokens = await lane.feed.score(wanted.text, tentative=wanted.tentative)
                self._report.scored(lane.name, len(tokens), len(wanted.text), began)
                event = on.ScoresReceived(tokens)
            except TimeoutError:
                event = on.ScoringFailed("late")
            except OverloadedError:
                event = on.ScoringFailed("overload")
            except ScoringError:
                pass
            except Exception as error:  # noqa: BLE001 - as in _prompt_decisions
                log_defect("a guarded stream", error)
            finally:
                late.cancel()
            if isinstance(event, on.ScoringFailed) and not wanted.tentative:
                lane.feed.skip(wanted.text)
            self._tell(lane, event)

    # -- carrying out ------------------------------------------------------------------------------------

    def _tell(self, lane: _Lane, event: on.Event) -> None:
        """Hand an event to a lane's core and carry its commands out, in order."""
        if self._closed:
            return
        try:
            self._carry_out(lane, event)
        except Exception as error:  # noqa: BLE001 - tasks and timers call this: nobody else would end the stream
            self._break(error)

    def _carry_out(self, lane: _Lane, event: on.Event) -> None:
        events = deque([event])
        while events:
            for command in lane.guard.handle(events.popleft()):
                match command:
                    case do.ScoreText():
                        lane.wanted.put_nowait(command)
                    case do.ReleaseText(span=span, text=text):
                        self._put(Released(lane.name, text, span.end))
                    case do.ComposeInsert():
                        events.append(on.InsertComposed(self._compose(command)))
                    case do.InsertText():
                        lane.inserted += len(command.text)
                        self._apply(lane, command.decision, command.at, enforced=True, words=command)
                    case do.WithholdText(span=span):
                        self._put(Withheld(lane.name, span.end))
                    case do.NoteDecision(decision=decision, at=at, enforced=enforced):
                        self._apply(lane, decision, at, enforced=enforced)
                    case do.NoteFindings(findings=findings):
                        self._note_findings(lane.name, findings)
                    case do.NoteFailure(reason=reason, stance=stance, span=span):
                        self._report.failed(lane.name, reason, stance, len(span))
                    case do.NoteUnscanned(chars=chars, reason=reason):
                        self.note_unscanned(_UNSCANNED_BECAUSE.get(reason, reason), chars)
                    case do.WakeAfter(delay_s=delay_s):
                        self._wake_after(lane, delay_s)
                    case do.EndLane(intervened=intervened):
                        self._end_lane(lane, intervened=intervened)
                    case _:
                        assert_never(command)
        self._update_room()

    def _update_room(self) -> None:
        """Take text or stop taking it, by what waits for the transport and for scores."""
        held = sum(lane.guard.held for lane in self._lanes.values())
        if self._closed or (len(self._outputs.waiting) < MAX_WAITING_OUTPUTS and held < MAX_HELD_CHARS):
            self._room.set()
        else:
            self._room.clear()

    def _wake_after(self, lane: _Lane, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        lane.wake_at = loop.time() + delay_s
        # A timer that rings too early is set again when it does: most of these are replaced before they ring.
        if lane.timer is None or lane.timer.when() > lane.wake_at:
            self._set_timer(lane, lane.wake_at)

    def _set_timer(self, lane: _Lane, at: float) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
        lane.timer = asyncio.get_running_loop().call_at(at, self._ring, lane)

    def _ring(self, lane: _Lane) -> None:
        lane.timer = None
        if asyncio.get_running_loop().time() < lane.wake_at:
            self._set_timer(lane, lane.wake_at)
        else:
            self._tell(lane, on.Woken())

    def _compose(self, command: do.ComposeInsert) -> Composition:
        conversation = self._opening.conversation
        first = conversation[0].text if conversation else self._opening.stream_id
        request = CompositionRequest(
            command.decision,
            locale=self._locale,
            conversation_id=hashlib.sha256(first.encode("utf-8", "surrogatepass")).hexdigest()[:16],
            earlier_texts=tuple(turn.text for turn in conversation if turn.role is Role.ASSISTANT),
            at_start=command.at_start,
        )
        return self._services.composer.compose(request)

    def _apply(
        self,
        lane: _Lane,
        decision: Decision,
        at: int,
        *,
        enforced: bool,
        words: do.InsertText | None = None,
    ) -> None:
        """Report an intervention, with our words where it has any."""
        finding = decision.finding
        intervention = Intervention(
            kind=decision.kind.label,
            category=finding.category,
            severity=finding.severity,
            score=finding.score,
            at=at,
            text=words.text if words else "",
            wording=words.wording if words else "",
            resources=words.resources if words else (),
            rationale=decision.rationale,
            enforced=enforced,
            withheld=words.withheld if words else 0,
        )
        self._report.intervened(lane.name, intervention)
        self._put(Inserted(lane.name, intervention))

    def _end_lane(self, lane: _Lane, *, intervened: bool) -> None:
        guard = lane.guard
        self._free(lane)
        reason = self._policy.finish_reason if intervened else ""
        withheld = guard.arrived - guard.released + guard.masked
        self._put(LaneClosed(lane.name, intervened, withheld, reason))
        if intervened and self._works_for_nobody():
            self._stopped = True
            self._put(UpstreamStopped())
        self._maybe_close()

    def _works_for_nobody(self) -> bool:
        """Whether every lane is closed and the upstream is still writing one of them.

        An upstream that has finished them all is about to end by itself, with its own usage.
        """
        if self._stopped or self._ended:
            return False
        lanes = self._lanes.values()
        closed = all(lane.guard.closed for lane in lanes) and len(lanes) >= self._opening.lanes
        return closed and not all(lane.finished for lane in lanes)

    # -- the end -----------------------------------------------------------------------------------------

    def _maybe_close(self) -> None:
        done = all(lane.guard.closed for lane in self._lanes.values())
        if (self._ended or self._stopped) and done and self._prompt is not None:
            intervened = any(lane.inserted for lane in self._lanes.values())
            self._close("intervened" if intervened else "completed")

    def _break(self, error: Exception) -> None:
        """A defect, ours or of what we were given: the stream ends as an error instead of hanging."""
        log_defect("a guarded stream", error)
        self._close("error")

    def _close(self, outcome: str) -> None:
        if self._closed:
            return
        self._closed = True
        lanes = self._lanes.values()
        totals = Totals(
            lanes=len(lanes),
            arrived=sum(lane.guard.arrived for lane in lanes),
            released=sum(lane.guard.released - lane.guard.masked for lane in lanes),
            inserted=sum(lane.inserted for lane in lanes),
        )
        for lane in lanes:
            self._free(lane)
        self._drop_conversation()
        if self._prompt_task is not None and self._prompt_task is not asyncio.current_task():
            self._prompt_task.cancel()
        self._update_room()
        self._put(self._report.ended(outcome, totals))

    def _free(self, lane: _Lane) -> None:
        """Give back all that a lane holds besides its text."""
        if lane.timer is not None:
            lane.timer.cancel()
        if lane.worker is not None and lane.worker is not asyncio.current_task():
            lane.worker.cancel()
        if lane.feed is not None:
            lane.feed.close()

    # -- reporting ---------------------------------------------------------------------------------------

    def _put(self, output: Output) -> None:
        self._outputs.put(output)

    def _note_findings(self, lane: str, findings: Sequence[Finding]) -> None:
        released = 0 if lane == USER_LANE else self._lanes[lane].guard.released
        for finding in findings:
            self._report.found(lane, finding, released=released)
            self._put(FindingNoted(lane, finding))
