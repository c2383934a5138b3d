"""``CausalScorer``: conversations under scoring by a pack of family ``causal``.

A conversation is one stream of tokens: a start token, then each turn's role marker and text. Every
token is fed once and scored with all before it in the window. The marker is fed with the first text of
its turn. A lane's state changes only when a call has succeeded, so that a refused, cancelled or
tentative call leaves it as it was. Everything here runs on the caller's event loop; the network does
not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.anchoring import Anchoring
from guardrail.engine.batcher import BatchLimits
from guardrail.engine.cache import Geometry, KeyValueCache
from guardrail.engine.calibration import Calibration
from guardrail.engine.pack import Pack, load_pack
from guardrail.engine.runner import Logits, Runner, ScoringJob
from guardrail.engine.scorer import LaneScorer, Scorer
from guardrail.engine.session import Network, OnnxSession, Provider, ProviderChoice
from guardrail.engine.tokenizer import Encoding, TextTokenizer
from guardrail.errors import ScoringError

_CALIBRATED_TOKENS = 256
"""How many tokens' scores are made at once, about a millisecond, before others get their turn."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all lanes of a scorer share."""

    tokenizer: TextTokenizer
    calibration: Calibration
    anchoring: Anchoring
    geometry: Geometry
    runner: Runner
    marker_ids: Mapping[Role, int]


class CausalScorer(Scorer):
    """A pack at work; the engine's ``Scorer``.

    Args:
        pack: the classifier.
        network: computes its steps; owned from here on.
        provider: where the network runs, for records.
        why_not_cuda: why that is the CPU, for records.
        limits: what a step may cost.
        max_queued_tokens: bound of the queue before the network.

    Raises:
        PackError: the tokenizer lacks the start token or a role's marker, or makes one out of text.
    """

    def __init__(
        self,
        pack: Pack,
        network: Network,
        *,
        provider: Provider = "cpu",
        why_not_cuda: str = "",
        limits: BatchLimits | None = None,
        max_queued_tokens: int = 65_536,
    ) -> None:
        self.pack = pack
        """The classifier, with its operating points."""
        self.provider = provider
        """Where the network runs."""
        self.why_not_cuda = why_not_cuda
        """Why it runs on the CPU; empty where it does not."""
        tokenizer = TextTokenizer(pack.tokenizer_path)
        markers = {role: tokenizer.reserved_id(entry.marker) for role, entry in pack.roles.items()}
        start = tokenizer.reserved_id(pack.start_token)
        geometry = Geometry(pack.layers, pack.heads, pack.head_dim, pack.max_positions)
        self.runner = Runner(network, geometry, limits=limits, max_queued_tokens=max_queued_tokens)
        """The thread behind it, with its counts."""
        self._parts = _Parts(
            tokenizer,
            Calibration(pack),
            Anchoring(start, frozenset(markers.values()), pack.max_positions),
            geometry,
            self.runner,
            markers,
        )

    @property
    def name(self) -> str:
        """Pack name and version, for records."""
        return f"{self.pack.name}/{self.pack.version}"

    @property
    def categories(self) -> Sequence[str]:
        """The categories it scores."""
        return self.pack.categories

    def open(self) -> CausalLane:
        """A new, empty conversation."""
        return CausalLane(self._parts, KeyValueCache(self._parts.geometry))

    def close(self) -> None:
        """Finish what is queued and end the thread; idempotent, blocks. Lanes are refused from now on."""
        self.runner.close()


class CausalLane(LaneScorer):
    """One conversation; the engine's ``LaneScorer``. Made by ``CausalScorer.open`` and ``fork``.

    Used from one event loop. Concurrent ``extend`` calls are carried out one after the other, in the
    order in which they were made; the other calls are refused while one is under way.
    """

    def __init__(self, parts: _Parts, cache: KeyValueCache) -> None:
        self._parts = parts
        self._cache = cache
        self._window: tuple[int, ...] = ()
        self._role: Role | None = None
        self._unfed_markers: list[int] = []
        self._offset = 0
        self._closed = False
        self._turnstile = asyncio.Lock()
        self._calls = 0
        self._job: ScoringJob | None = None

    def begin_turn(self, role: Role) -> None:
        """Start a new turn; positions of scores count from its first code point.

        Raises:
            RuntimeError: an ``extend`` is under way, to which turn it belongs would be a guess.
            ScoringError: the lane is closed.
        """
        self._check_idle("begin_turn")
        self._role = role
        self._unfed_markers.append(self._parts.marker_ids[role])
        self._offset = 0

    async def extend(self, text: str, *, tentative: bool = False) -> Sequence[TokenScore]:
        """Score ``text``, the continuation of the current turn.

        Args:
            text: must end where a word ends, unless ``tentative`` or the last of its turn.
            tentative: score, but forget: the next call continues where this one began.

        Returns:
            One entry a token of ``text``, spans in code points of the turn; none for white space and
            for roles without a head.

        Raises:
            OverloadedError: refused at the door; nothing was scored, the call may be repeated.
            ScoringError: a step failed, or lane or engine were closed.
            RuntimeError: no turn was begun.
        """
        if self._role is None:
            raise RuntimeError("extend before begin_turn: whose words are these?")
        self._calls += 1
        try:
            async with self._turnstile:
                self._check_open()
                return await self._extend(self._role, text, tentative=tentative)
        finally:
            self._calls -= 1

    async def _extend(self, role: Role, text: str, *, tentative: bool) -> Sequence[TokenScore]:
        parts = self._parts
        judged = parts.calibration.judges(role)
        if tentative and not judged:
            return []
        encoding = await self._encode(text)
        self._check_open()
        scores: list[TokenScore] = []
        if encoding.ids:
            markers = len(self._unfed_markers)
            passes, window = parts.anchoring.plan(self._window, self._unfed_markers + encoding.ids)
            job = self._job = ScoringJob(self, passes, self._cache, tentative=tentative)
            try:
                logits = await parts.runner.score(job)
            finally:
                self._job = None
            if judged:
                scores = await self._calibrate(role, encoding.offsets, logits[markers:])
            self._check_open()
            if not tentative:
                self._cache, self._window, self._unfed_markers = job.cache, window, []
        if not tentative:
            self._offset += len(text)
        return scores

    async def _encode(self, text: str) -> Encoding:
        whole = Encoding([], [])
        for part in self._parts.tokenizer.encode_in_parts(text):
            if whole.ids:
                await asyncio.sleep(0)  # a long prompt must not stall the streams of this loop
            whole.ids.extend(part.ids)
            whole.offsets.extend(part.offsets)
        return whole

    async def _calibrate(
        self, role: Role, offsets: Sequence[tuple[int, int]], logits: Logits
    ) -> list[TokenScore]:
        scores: list[TokenScore] = []
        for first in range(0, len(offsets), _CALIBRATED_TOKENS):
            if first:
                await asyncio.sleep(0)
            some = slice(first, first + _CALIBRATED_TOKENS)
            values = self._parts.calibration.scores(role, logits[some])
            scores += [
                TokenScore(Span(self._offset + start, self._offset + end), each)
                for (start, end), each in zip(offsets[some], values, strict=True)
            ]
        return scores

    def fork(self) -> CausalLane:
        """An independent copy, in the same turn, sharing what has been scored so far.

        Raises:
            RuntimeError: an ``extend`` is under way.
            ScoringError: the lane is closed.
        """
        self._check_idle("fork")
        copy = CausalLane(self._parts, self._cache.fork())
        copy._window, copy._role = self._window, self._role
        copy._unfed_markers, copy._offset = list(self._unfed_markers), self._offset
        return copy

    def close(self) -> None:
        """Free everything; whoever still waits for scores gets a ``ScoringError``; idempotent."""
        self._closed = True
        if self._job is not None:
            self._job.abandon("the lane was closed")
        self._cache, self._window = self._cache.emptied(), ()

    def _check_open(self) -> None:
        if self._closed:
            raise ScoringError("the lane is closed")

    def _check_idle(self, call: str) -> None:
        self._check_open()
        if self._calls:
            raise RuntimeError(f"{call} while an extend of the same lane is under way")


def load_scorer(
    pack: Pack | str | Path,
    provider: ProviderChoice = "auto",
    *,
    intra_op_threads: int = 0,
    limits: BatchLimits | None = None,
    max_queued_tokens: int = 65_536,
) -> CausalScorer:
    """A pack, loaded, checked, warmed up and ready to score.

    Args:
        pack: a pack, its name or its directory.
        provider: where to run it; what runs is the scorer's ``provider``.
        intra_op_threads: threads a step is computed by on the CPU; 0: one a core.
        limits: what a step may cost.
        max_queued_tokens: bound of the queue before the network.

    Raises:
        PackError: the pack cannot be used.
        ProviderError: CUDA was asked for and cannot be had.
    """
    if not isinstance(pack, Pack):
        pack = load_pack(pack)
    session = OnnxSession(pack, provider=provider, intra_op_threads=intra_op_threads)
    session.warm_up()
    return CausalScorer(
        pack,
        session,
        provider=session.provider,
        why_not_cuda=session.why_not_cuda,
        limits=limits,
        max_queued_tokens=max_queued_tokens,
    )
