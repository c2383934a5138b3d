"""``WindowScorer``: conversations under scoring by a pack of family ``window``.

A turn is judged by windows of its own text (``windows``), which may have the end of the last user turn
before them as their first segment. A lane keeps token ids, no state of the network: every window is
computed whole. Everything here runs on the caller's event loop; the network does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.batcher import BatchLimits
from guardrail.engine.calibration import Calibration
from guardrail.engine.family import PackLane, PackScorer
from guardrail.engine.framing import Frame, Framed, frame
from guardrail.engine.labels import LabelOdds
from guardrail.engine.manifest import refusal
from guardrail.engine.manifest_window import WindowPack, WindowRole
from guardrail.engine.runner import Runner
from guardrail.engine.session import Provider
from guardrail.engine.tokenizer import TextTokenizer
from guardrail.engine.window_session import Network
from guardrail.engine.window_step import WindowJob, WindowStep
from guardrail.engine.windows import Turn, Window, Windowing
from guardrail.errors import PackError

WAITING_WINDOWS = 16
"""Windows of one call that wait at a time: enough for a step on a GPU, few enough for others to have their turn."""
QUEUED_WINDOWS = 512
"""Bound of the queue: the longest windows of as many calls as ``guardrail score`` has under way."""
_WORDS_AT_A_TIME = 64
"""Words read, about a millisecond, before others get their turn."""
_SPECIMEN = 'One line, it\'s so.\n\nAnd  two: "more".'


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all lanes of a scorer share."""

    tokenizer: TextTokenizer
    calibration: Calibration
    odds: LabelOdds
    runner: Runner[WindowJob]
    roles: Mapping[Role, WindowRole]
    alone: Frame
    after_context: Frame
    max_tokens: int
    stride: int
    remembered: int
    """Longest context any role asks for: so much of a user turn is kept."""


class WindowScorer(PackScorer[WindowJob]):
    """A pack of family ``window`` at work.

    Args:
        pack: the classifier.
        network: computes its windows; owned from here on.
        provider: where the network runs, for records.
        why_not_cuda: why that is the CPU, for records.
        limits: what a step may cost; raised to one window where it is less.
        max_queued_tokens: bound of the queue before the network; room for 512 windows unless given.
        max_wait_s: the longest it may take what is queued before new work is refused.

    Raises:
        PackError: the tokenizer puts nothing around a text, leaves the text too little room, or is of a kind
            that cannot be given a text in pieces.
    """

    def __init__(
        self,
        pack: WindowPack,
        network: Network,
        *,
        provider: Provider = "cpu",
        why_not_cuda: str = "",
        limits: BatchLimits | None = None,
        max_queued_tokens: int | None = None,
        max_wait_s: float = inf,
    ) -> None:
        tokenizer = TextTokenizer(pack.tokenizer_path)
        alone, after_context = frame(tokenizer, 1), frame(tokenizer, 2)
        tokenizer.reserve(
            token for each in (alone, after_context) for part in each.around for token in part.ids
        )
        _check(pack, tokenizer, after_context)
        runner = Runner(
            WindowStep(network),
            limits=window_limits(limits, pack.max_tokens, provider),
            max_queued_tokens=max_queued_tokens or QUEUED_WINDOWS * pack.max_tokens,
            max_wait_s=max_wait_s,
        )
        super().__init__(pack, runner, provider, why_not_cuda)
        self._parts = _Parts(
            tokenizer,
            Calibration(pack),
            LabelOdds(pack),
            runner,
            pack.roles,
            alone,
            after_context,
            pack.max_tokens,
            pack.stride,
            max(entry.context_tokens for entry in pack.roles.values()),
        )

    def open(self) -> WindowLane:
        """A new, empty conversation."""
        return WindowLane(self._parts)


class WindowLane(PackLane):
    """One conversation over windows."""

    def __init__(self, parts: _Parts) -> None:
        super().__init__()
        self._parts = parts
        self._context: tuple[int, ...] = ()  # before the current turn
        self._user: tuple[int, ...] = ()  # the end of the last user turn that is over
        self._turn: Turn | None = None

    def _begin(self, role: Role) -> None:
        parts = self._parts
        if self._role is Role.USER and self._turn is not None:
            self._user = self._turn.last_ids(parts.remembered)
        rules = parts.roles[role]
        self._context = self._user[max(0, len(self._user) - rules.context_tokens) :]
        capacity = parts.max_tokens - self._frame.size - len(self._context)
        remembered = parts.remembered if role is Role.USER else 0
        windowing = Windowing(rules.judged_at, capacity, parts.stride)
        self._turn = Turn(parts.tokenizer.encode_run, windowing, remembered)

    async def _extend(self, role: Role, text: str, *, tentative: bool, scored: bool) -> Sequence[TokenScore]:
        assert self._turn is not None
        scored = scored and self._parts.roles[role].judged_at != "never"
        if not scored and tentative:
            return []
        turn = self._turn.copy()
        scores: list[TokenScore] = []
        waiting: list[Window] = []
        admitted = False
        for number, windows in enumerate(turn.read(text), start=1):
            waiting += windows if scored else []
            if len(waiting) >= WAITING_WINDOWS:
                scores += await self._score(role, waiting, admitted=admitted)
                waiting, admitted = [], True
            if number % _WORDS_AT_A_TIME == 0:
                await asyncio.sleep(0)
        if waiting:
            scores += await self._score(role, waiting, admitted=admitted)
        self._check_open()
        if not tentative:
            self._turn = turn
        return scores

    async def _score(self, role: Role, windows: Sequence[Window], *, admitted: bool) -> list[TokenScore]:
        parts = self._parts
        wanted = sum(len(window.spans) for window in windows)
        jobs = [WindowJob(self._framed(window), wanted) for window in windows]
        rows = await self._run(parts.runner, jobs, admitted=admitted)
        values = parts.calibration.scores(role, parts.odds.logits(np.stack(rows)))
        return [
            TokenScore(span, each)
            for window, each in zip(windows, values, strict=True)
            for span in window.spans
        ]

    @property
    def _frame(self) -> Frame:
        return self._parts.after_context if self._context else self._parts.alone

    def _framed(self, window: Window) -> Framed:
        return self._frame.wrap(*([self._context] if self._context else []), window.ids)

    def _copy(self) -> WindowLane:
        copy = WindowLane(self._parts)
        copy._role, copy._context, copy._user = self._role, self._context, self._user
        copy._turn = self._turn  # never changed, only replaced
        return copy

    def _clear(self) -> None:
        self._context, self._user, self._turn = (), (), None


def window_limits(limits: BatchLimits | None, max_tokens: int, provider: Provider) -> BatchLimits:
    """What a step may cost, so that the longest window fits, whole.

    Unless limits are given, a step on the CPU is about one long window, as longer ones only make live words
    wait; a GPU computes as many as there may be rows in not much more time than one.
    """
    if limits is None:
        limits = BatchLimits()
        if provider == "cuda":
            limits = replace(limits, max_batch_tokens=limits.max_batch_lanes * max_tokens)
    most = max(limits.max_batch_tokens, max_tokens)
    return replace(limits, slice_tokens=max(limits.slice_tokens, max_tokens), max_batch_tokens=most)


def _check(pack: WindowPack, tokenizer: TextTokenizer, after_context: Frame) -> None:
    where, name = pack.directory, pack.tokenizer_path.name
    if after_context.size == 0:
        raise PackError(str(where), f"{name}: has no post-processor that puts special tokens around a text")
    longest = max(entry.context_tokens for entry in pack.roles.values())
    if pack.max_tokens - after_context.size - longest < pack.stride:
        raise refusal(where, "max_tokens", "leaves less than one stride to the turn")
    pieces = Turn(tokenizer.encode_run, Windowing("never", pack.max_tokens, pack.stride), 1 << 16)
    for _ in pieces.read(_SPECIMEN):
        pass
    whole = tokenizer.encode_run(_SPECIMEN).ids
    if pieces.last_ids(len(whole) + 1) != tuple(whole):
        raise PackError(str(where), f"{name}: words give other tokens alone than in their sentence")
