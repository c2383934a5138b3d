"""``load_scorer`` and ``load_scorers``: packs of any family, ready to score."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path

from guardrail.engine.batcher import BatchLimits
from guardrail.engine.causal import CausalScorer
from guardrail.engine.causal_session import CausalSession
from guardrail.engine.ensemble import EnsembleScorer, seated
from guardrail.engine.family import PackScorer
from guardrail.engine.gate import Gating
from guardrail.engine.lexical import LexicalScorer
from guardrail.engine.manifest import Pack
from guardrail.engine.manifest_causal import CausalPack
from guardrail.engine.manifest_lexical import LexicalPack
from guardrail.engine.manifest_window import WindowPack
from guardrail.engine.pack import load_pack
from guardrail.engine.scorer import LoadedScorer
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
) -> PackScorer:
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
        case LexicalPack():
            return LexicalScorer(pack)
        case _:
            raise AssertionError(f"load_pack gives no {type(pack).__name__}")


def load_scorers(
    packs: Sequence[Pack],
    provider: ProviderChoice = "auto",
    *,
    gating: Gating | None = None,
    intra_op_threads: int = 0,
    max_wait_s: float = inf,
) -> LoadedScorer:
    """One scorer for one pack or several, each loaded once; other arguments and errors as of ``load_scorer``.

    Args:
        packs: in order of precedence.
        provider: where to run them.
        gating: which of them gate which; None: all are asked about everything.
        intra_op_threads: as of ``load_scorer``.
        max_wait_s: as of ``load_scorer``.
    """
    with ExitStack() as loaded:
        scorers = []
        for pack in packs:
            scorers.append(
                load_scorer(pack, provider, intra_op_threads=intra_op_threads, max_wait_s=max_wait_s)
            )
            loaded.callback(scorers[-1].close)  # unless all of them can be loaded
        loaded.pop_all()
    if len(scorers) == 1:
        return scorers[0]
    return EnsembleScorer(seated(packs, scorers, gating))
