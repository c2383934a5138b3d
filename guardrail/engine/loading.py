"""``load_scorer``: a pack of any family, ready to score."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

from guardrail.engine.batcher import BatchLimits
from guardrail.engine.causal import CausalScorer
from guardrail.engine.causal_session import CausalSession
from guardrail.engine.family import PackScorer
from guardrail.engine.manifest import Pack
from guardrail.engine.manifest_causal import CausalPack
from guardrail.engine.manifest_window import WindowPack
from guardrail.engine.pack import load_pack
from guardrail.engine.session import ProviderChoice
from guardrail.engine.window import WindowScorer
from guardrail.engine.window_session import WindowSession


def load_scorer(
    pack: Pack | str | Path,
    provider: ProviderChoice = "auto",
    *,
    intra_op_threads: int = 0,
    limits: BatchLimits | None = None,
    max_wait_s: float = inf,
) -> PackScorer[Any]:
    """A pack, loaded, checked, warmed up and ready to score.

    Args:
        pack: a pack, its name or its directory.
        provider: where to run it; what runs is the scorer's ``provider``.
        intra_op_threads: threads a step is computed by on the CPU; 0: one a core.
        limits: what a step may cost; the family's own unless given.
        max_wait_s: the longest it may take what is queued before new work is refused (``load``).

    Raises:
        PackError: the pack cannot be used.
        ProviderError: CUDA was asked for and cannot be had.
    """
    if not isinstance(pack, Pack):
        pack = load_pack(pack)
    match pack:
        case CausalPack():
            causal = CausalSession(pack, provider=provider, intra_op_threads=intra_op_threads)
            causal.warm_up()
            return CausalScorer(
                pack,
                causal,
                provider=causal.provider,
                why_not_cuda=causal.why_not_cuda,
                limits=limits,
                max_wait_s=max_wait_s,
            )
        case WindowPack():
            window = WindowSession(pack, provider=provider, intra_op_threads=intra_op_threads)
            window.warm_up()
            return WindowScorer(
                pack,
                window,
                provider=window.provider,
                why_not_cuda=window.why_not_cuda,
                limits=limits,
                max_wait_s=max_wait_s,
            )
        case _:
            raise AssertionError(f"load_pack gives no {type(pack).__name__}")
