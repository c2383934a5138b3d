"""``CausalScorer``: conversations under scoring by a pack of family ``causal``.

A conversation is one stream of tokens: a start token, then each turn's marker, text and end, as far as the
pack has them. Every token is fed once and scored with all before it in the window. What stands between the
texts of two turns is fed with the first text of the later one. Everything here runs on the caller's event
loop; the network does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.anchoring import Anchoring, Ids
from guardrail.engine.batcher import BatchLimits
from guardrail.engine.cache import Geometry, KeyValueCache
from guardrail.engine.calibration import Calibration
from guardrail.engine.causal_session import Network
from guardrail.engine.causal_step import CausalJob, CausalStep, Logits
from guardrail.engine.family import NetworkScorer, PackLane
from guardrail.engine.growth import GrowingTurn, Growth, Runs, Spans, Words
from guardrail.engine.manifest import refusal
from guardrail.engine.manifest_causal import CausalPack
from guardrail.engine.runner import Runner
from guardrail.engine.session import Provider
from guardrail.engine.tokenizer import TextTokenizer
from guardrail.errors import PackError

_CALIBRATED_TOKENS = 256
"""How many tokens' scores are made at once, about a millisecond, before others get their turn."""
_SPECIMEN = 'One line, it\'s so.\n\n- And  two: "more".\n\tx = 1;'


@dataclass(frozen=True, slots=True)
class _Turns:
    """What stands around the turns of one role, and how they are judged."""

    marker: Ids
    end: Ids
    head: int | None
    judged_at_end: bool


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all lanes of a scorer share."""

    tokenizer: TextTokenizer
    in_runs: bool
    calibration: Calibration
    anchoring: Anchoring
    geometry: Geometry
    runner: Runner[CausalJob]
    turns: Mapping[Role, _Turns]

    def turn(self, role: Role) -> GrowingTurn:
        """A new, empty turn of ``role``."""
        if not self.in_runs:
            return Words(self.tokenizer.encode_in_parts)
        rules = self.turns[role]
        return Runs(self.tokenizer.encode_run, rules.end[0] if rules.judged_at_end else None)


class CausalScorer(NetworkScorer[CausalJob]):
    """A pack of family ``causal`` at work.

    Args:
        pack: the classifier.
        network: computes its steps; owned from here on.
        provider: where the network runs, for records.
        why_not_cuda: why that is the CPU, for records.
        limits: what a step may cost.
        max_queued_tokens: bound of the queue before the network.
        max_wait_s: the longest it may take what is queued before new work is refused.

    Raises:
        PackError: the tokenizer lacks the start token or one of a role's, makes one of them out of text, or is
            of a kind that cannot be given a text in pieces; or too little room is left for text.
    """

    def __init__(
        self,
        pack: CausalPack,
        network: Network,
        *,
        provider: Provider = "cpu",
        why_not_cuda: str = "",
        limits: BatchLimits | None = None,
        max_queued_tokens: int = 65_536,
        max_wait_s: float = inf,
    ) -> None:
        tokenizer = TextTokenizer(pack.tokenizer_path)
        turns = _turns(pack, tokenizer)
        in_runs = pack.tokenization == "runs"
        start: Ids = ()
        if pack.start_token is not None:
            start = (tokenizer.reserved_id(pack.start_token, in_runs=in_runs),)
        markers = tuple(rules.marker for rules in turns.values() if rules.marker)
        anchoring = Anchoring(start, markers, pack.max_positions)
        _check(pack, tokenizer, anchoring)
        geometry = network.geometry
        runner = Runner(
            CausalStep(network, geometry),
            limits=limits,
            max_queued_tokens=max_queued_tokens,
            max_wait_s=max_wait_s,
        )
        super().__init__(pack, runner, provider, why_not_cuda)
        self._parts = _Parts(tokenizer, in_runs, Calibration(pack), anchoring, geometry, runner, turns)

    def open(self) -> CausalLane:
        """A new, empty conversation."""
        return CausalLane(self._parts, KeyValueCache(self._parts.geometry))


@dataclass(slots=True)
class _Shown:
    """What the network has been shown of a conversation, and what it is to be shown next."""

    cache: KeyValueCache
    window: Ids = ()
    unfed: list[int] = field(default_factory=list)
    """What stands between the last turn's text and the next."""
    ids: list[int] = field(default_factory=list)
    """Of the text, next."""
    spans: list[Spans] = field(default_factory=list)
    """What each of ``ids`` judges."""
    admitted: bool = False
    """Whether something of the call under way was fed already; turning the rest away would throw that away."""

    def copy(self) -> _Shown:
        """An independent one, with nothing of the text to be shown next."""
        return _Shown(self.cache.fork(), self.window, list(self.unfed))

    def drop_pending(self, count: int) -> int:
        """Take back up to ``count`` ids that were not fed and judge nothing; how many are left to take back."""
        while count and self.ids and not self.spans[-1]:
            self.ids.pop()
            self.spans.pop()
            count -= 1
        return count

    def take_back(self, count: int, at_least: int) -> None:
        """Forget the last ``count`` tokens, but not the first ``at_least`` of the window.

        These stand for what was before the window; after re-anchoring in a tiny window they may be all there is.
        """
        kept = max(len(self.window) - count, min(at_least, len(self.window)))
        self.window = self.window[:kept]
        self.cache = _shortened(self.cache, kept)


class CausalLane(PackLane):
    """One conversation over a causal network."""

    def __init__(self, parts: _Parts, cache: KeyValueCache) -> None:
        super().__init__()
        self._parts = parts
        self._shown = _Shown(cache)
        self._turn: GrowingTurn | None = None

    def _begin(self, role: Role) -> None:
        if self._role is not None and self._turn is not None:
            if provisional := self._turn.provisional():
                self._take_back(self._shown, self._role, provisional)
            self._shown.unfed += self._parts.turns[self._role].end
        self._shown.unfed += self._parts.turns[role].marker
        self._turn = self._parts.turn(role)

    async def _extend(self, role: Role, text: str, *, tentative: bool, scored: bool) -> Sequence[TokenScore]:
        assert self._turn is not None
        head = self._parts.turns[role].head if scored else None
        if tentative and head is None:
            return []
        turn, shown = self._turn.copy(), self._shown.copy()
        scores: list[TokenScore] = []
        for number, growths in enumerate(turn.read(text, scored=head is not None)):
            if number:
                await asyncio.sleep(0)  # a long prompt must not stall the streams of this loop
            for growth in growths:
                scores += await self._grow(shown, growth, role, head)
        scores += await self._feed(shown, role, head, tentative=tentative)
        self._check_open()
        if not tentative:
            self._turn, self._shown = turn, shown
        return scores

    async def _grow(self, shown: _Shown, growth: Growth, role: Role, head: int | None) -> list[TokenScore]:
        """Take ``growth`` in; what had to be scored before something of it is taken back."""
        scores: list[TokenScore] = []
        if back := shown.drop_pending(growth.back):
            scores = await self._feed(shown, role, head)
            self._take_back(shown, role, back)
        shown.ids += growth.ids
        shown.spans += growth.spans
        return scores

    async def _feed(
        self, shown: _Shown, role: Role, head: int | None, *, tentative: bool = False
    ) -> list[TokenScore]:
        """Show the network what is pending; the scores of it that are wanted."""
        if not shown.ids:
            return []
        parts, before = self._parts, len(shown.unfed)
        passes, window = parts.anchoring.plan(shown.window, shown.unfed + shown.ids)
        job = CausalJob(self, passes, shown.cache, tentative=tentative)
        (logits,) = await self._run(parts.runner, [job], admitted=shown.admitted)
        shown.admitted = True
        judging = [index for index, spans in enumerate(shown.spans) if spans]
        scores: list[TokenScore] = []
        if head is not None and judging:
            wanted, spans = logits[before:, head], shown.spans
            if len(judging) < len(spans):
                wanted, spans = wanted[judging], [spans[index] for index in judging]
            scores = await self._calibrate(role, spans, wanted)
        shown.cache, shown.window = job.cache, window
        shown.unfed, shown.ids, shown.spans = [], [], []
        return scores

    def _take_back(self, shown: _Shown, role: Role, count: int) -> None:
        before = len(self._parts.anchoring.start) + len(self._parts.turns[role].marker)
        shown.take_back(count, before)

    async def _calibrate(self, role: Role, spans: Sequence[Spans], logits: Logits) -> list[TokenScore]:
        scores: list[TokenScore] = []
        for first in range(0, len(spans), _CALIBRATED_TOKENS):
            if first:
                await asyncio.sleep(0)
            some = slice(first, first + _CALIBRATED_TOKENS)
            values = self._parts.calibration.scores(role, logits[some])
            scores += [
                TokenScore(span, each)
                for judged, each in zip(spans[some], values, strict=True)
                for span in judged
            ]
        return scores

    def _copy(self) -> CausalLane:
        copy = CausalLane(self._parts, self._shown.cache)
        copy._role, copy._shown = self._role, self._shown.copy()
        copy._turn = self._turn  # never changed, only replaced
        return copy

    def _clear(self) -> None:
        self._shown, self._turn = _Shown(self._shown.cache.emptied()), None


def _shortened(cache: KeyValueCache, length: int) -> KeyValueCache:
    """What ``cache`` held when it held ``length`` tokens: a cache is a view, and a shorter one is a view, too."""
    shorter = cache.fork()
    shorter.length = length
    return shorter


def _turns(pack: CausalPack, tokenizer: TextTokenizer) -> Mapping[Role, _Turns]:
    """What stands around turns, as ids. No text can make the token that opens one, or that judges one."""
    in_runs = pack.tokenization == "runs"

    def ids(tokens: Sequence[str], *, reserved: bool) -> Ids:
        known = tuple(tokenizer.known_id(token) for token in tokens)
        if tokens and reserved:
            tokenizer.reserved_id(tokens[0], in_runs=in_runs)
        return known

    return {
        role: _Turns(
            ids(entry.marker, reserved=True),
            ids(entry.end, reserved=entry.judged_at == "end"),
            entry.head,
            entry.judged_at == "end",
        )
        for role, entry in pack.roles.items()
    }


def _check(pack: CausalPack, tokenizer: TextTokenizer, anchoring: Anchoring) -> None:
    if 4 * anchoring.overhead > pack.max_positions:
        raise refusal(
            pack.directory, "max_positions", "leaves too little room beside the tokens that open a turn"
        )
    if pack.tokenization == "words":
        return
    turn = Runs(tokenizer.encode_run)
    ids: list[int] = []
    for growths in turn.read(_SPECIMEN, scored=True):
        for growth in growths:
            ids = [*ids[: len(ids) - growth.back], *growth.ids]
    if ids != tokenizer.encode_run(_SPECIMEN).ids:
        raise PackError(
            str(pack.directory),
            f"{pack.tokenizer_path.name}: words give other tokens alone than in their sentence",
        )
