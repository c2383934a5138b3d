"""``CausalScorer``: conversations under scoring by a pack of family ``causal``.

A conversation is one stream of tokens: a start token, then each turn's role marker and text. Every
token is fed once and scored with all before it in the window. The marker is fed with the first text of
its turn. Everything here runs on the caller's event loop; the network does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.anchoring import Anchoring
from guardrail.engine.batcher import BatchLimits
from guardrail.engine.cache import Geometry, KeyValueCache
from guardrail.engine.calibration import Calibration
from guardrail.engine.causal_session import Network
from guardrail.engine.causal_step import CausalJob, CausalStep, Logits
from guardrail.engine.family import PackLane, PackScorer
from guardrail.engine.manifest_causal import CausalPack
from guardrail.engine.runner import Runner
from guardrail.engine.session import Provider
from guardrail.engine.tokenizer import Encoding, TextTokenizer

_CALIBRATED_TOKENS = 256
"""How many tokens' scores are made at once, about a millisecond, before others get their turn."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all lanes of a scorer share."""

    tokenizer: TextTokenizer
    calibration: Calibration
    anchoring: Anchoring
    geometry: Geometry
    runner: Runner[CausalJob]
    marker_ids: Mapping[Role, int]
    heads: Mapping[Role, int | None]


class CausalScorer(PackScorer[CausalJob]):
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
        PackError: the tokenizer lacks the start token or a role's marker, or makes one out of text.
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
        markers = {role: tokenizer.reserved_id(entry.marker) for role, entry in pack.roles.items()}
        start = tokenizer.reserved_id(pack.start_token)
        geometry = network.geometry
        runner = Runner(
            CausalStep(network, geometry),
            limits=limits,
            max_queued_tokens=max_queued_tokens,
            max_wait_s=max_wait_s,
        )
        super().__init__(pack, runner, provider, why_not_cuda)
        self._parts = _Parts(
            tokenizer,
            Calibration(pack),
            Anchoring(start, frozenset(markers.values()), pack.max_positions),
            geometry,
            runner,
            markers,
            {role: entry.head for role, entry in pack.roles.items()},
        )

    def open(self) -> CausalLane:
        """A new, empty conversation."""
        return CausalLane(self._parts, KeyValueCache(self._parts.geometry))


class CausalLane(PackLane):
    """One conversation over a causal network."""

    def __init__(self, parts: _Parts, cache: KeyValueCache) -> None:
        super().__init__()
        self._parts = parts
        self._cache = cache
        self._window: tuple[int, ...] = ()
        self._unfed_markers: list[int] = []
        self._offset = 0

    def _begin(self, role: Role) -> None:
        self._unfed_markers.append(self._parts.marker_ids[role])
        self._offset = 0

    async def _extend(self, role: Role, text: str, *, tentative: bool, scored: bool) -> Sequence[TokenScore]:
        parts = self._parts
        head = parts.heads[role] if scored else None
        if tentative and head is None:
            return []
        encoding = await self._encode(text)
        self._check_open()
        scores: list[TokenScore] = []
        if encoding.ids:
            markers = len(self._unfed_markers)
            passes, window = parts.anchoring.plan(self._window, self._unfed_markers + encoding.ids)
            job = CausalJob(self, passes, self._cache, tentative=tentative)
            (logits,) = await self._run(parts.runner, [job])
            if head is not None:
                scores = await self._calibrate(role, encoding.offsets, logits[markers:, head])
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

    def _copy(self) -> CausalLane:
        copy = CausalLane(self._parts, self._cache.fork())
        copy._role, copy._window, copy._offset = self._role, self._window, self._offset
        copy._unfed_markers = list(self._unfed_markers)
        return copy

    def _clear(self) -> None:
        self._cache, self._window = self._cache.emptied(), ()
