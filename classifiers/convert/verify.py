"""Whether a converted pack says what its model says: loaded and run by the engine itself.

Always: it loads, and a text in one piece scores as it does word by word. Where torch and transformers are installed: its
scores are the framework's own, token by token, window by window.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from classifiers.convert.causal import judging_of
from classifiers.convert.errors import VerificationError
from classifiers.convert.manifest import TOKENIZER
from classifiers.convert.maps import LabelMap
from classifiers.convert.source import Source
from classifiers.convert.weights import Array, Weights
from classifiers.convert.window import framework
from guardrail.core.verdicts import Role, TokenScore
from guardrail.engine.family import PackScorer
from guardrail.engine.loading import load_scorer
from guardrail.engine.manifest import Pack
from guardrail.engine.manifest_causal import CausalPack
from guardrail.engine.manifest_window import WindowPack
from guardrail.engine.tokenizer import TextTokenizer
from guardrail.errors import GuardrailError

SPECIMEN = "Plain words follow one after the other here and nothing in them is meant to be of any risk at all"
PIECES_TOLERANCE = 1e-3
"""Of scores: floats summed in another order."""
FRAMEWORK_TOLERANCE = 5e-3
"""Of scores of a float pack; one of int8 is reported, not judged."""


@dataclass(frozen=True)
class Verified:
    """What was found."""

    pieces_gap: float
    """Largest difference of a score between a text in one piece and word by word."""
    framework_gap: float | None
    """Largest difference of a score from the framework's; None where it is not installed."""
    tokens_per_second: float
    """On this machine's CPU, one stream, a text in one piece."""


def verify(directory: Path, source: Source, mapping: LabelMap, *, exact: bool) -> Verified:
    """Check a pack against itself and its model.

    Args:
        directory: the pack.
        source: the model.
        mapping: of its labels.
        exact: whether its weights are the model's own.

    Raises:
        VerificationError: it does not load, or says something else.
    """
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    try:
        scorer = load_scorer(directory, "cpu")
    except GuardrailError as error:
        raise VerificationError(f"the engine refuses the pack: {error}") from error
    try:
        role = Role.ASSISTANT if Role.ASSISTANT in scorer.pack.judged else Role.USER
        text = _specimen(scorer.pack, tokenizer)
        started_s = time.monotonic()
        whole = asyncio.run(_scores(scorer, role, [text]))
        took_s = time.monotonic() - started_s
        # The user's turns are cut where sentences end, and nowhere else.
        pieces = text.replace(" ", "\n ").split("\n") if role is Role.ASSISTANT else [text]
        pieces_gap = _gap(_table(whole), _table(asyncio.run(_scores(scorer, role, pieces))))
        if pieces_gap > PIECES_TOLERANCE:
            raise VerificationError(f"scores depend on how the text is cut: they differ by {pieces_gap:.2g}")
        framework_gap = None
        if all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
            expected = (
                _causal_chances(scorer.pack, source, mapping, role, text)
                if isinstance(scorer.pack, CausalPack)
                else _window_chances(scorer.pack, source, tokenizer.encode(text))
            )
            # A window of all the text judges its last word; a turn judged at its end is judged once.
            framework_gap = _gap(_table(whole[-len(expected) :]), expected)
            if exact and framework_gap > FRAMEWORK_TOLERANCE:
                raise VerificationError(f"scores differ from the framework's by {framework_gap:.2g}")
    finally:
        scorer.close()
    return Verified(pieces_gap, framework_gap, len(whole) / took_s)


async def _scores(scorer: PackScorer, role: Role, pieces: Sequence[str]) -> list[TokenScore]:
    lane = scorer.open()
    lane.begin_turn(role)
    scores: list[TokenScore] = []
    for piece in pieces:
        scores += await lane.extend(piece)
    lane.close()
    return scores


def _specimen(pack: Pack, tokenizer: Tokenizer) -> str:
    """As much of the specimen as the network is shown at once."""
    room = pack.max_tokens if isinstance(pack, WindowPack) else 0
    if isinstance(pack, CausalPack):
        room = pack.max_positions // 2  # what opens a turn has a place, too
    words = SPECIMEN.split(" ")
    while len(words) > 1 and len(tokenizer.encode(" ".join(words)).ids) > room:
        words.pop()
    return " ".join(words)


def _causal_chances(pack: CausalPack, source: Source, mapping: LabelMap, role: Role, text: str) -> Array:
    """The framework's probabilities at the tokens that judge the specimen."""
    rules = pack.roles[role]
    tokenizer = TextTokenizer(pack.tokenizer_path)
    read = tokenizer.encode_run if pack.tokenization == "runs" else tokenizer.encode
    encoded = read(text)
    around = [tokenizer.known_id(token) for token in (*filter(None, [pack.start_token]), *rules.marker)]
    at_end = rules.judged_at == "end"
    ids = [*around, *encoded.ids, *([tokenizer.known_id(rules.end[0])] if at_end else [])]
    torch, transformers = framework()
    body = transformers.AutoModel.from_pretrained(
        source.directory, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        hidden = body.eval()(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    judging = judging_of(source, Weights(source.directory), mapping)
    wanted = [len(ids) - 1]
    if not at_end:  # white space judges nothing
        wanted = [
            len(around) + index
            for index, (start, end) in enumerate(encoded.offsets)
            if text[start:end].strip()
        ]
    return judging.heads[judging.roles[role]].chances(hidden[wanted])


def _window_chances(pack: Pack, source: Source, encoded: Encoding) -> Array:
    """The framework's probabilities of the specimen, as one window."""
    assert isinstance(pack, WindowPack)
    torch, transformers = framework()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        source.directory, dtype=torch.float32
    )
    ids = torch.tensor([encoded.ids])
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].numpy()
    if pack.activation == "softmax":
        powers = np.exp(logits - logits.max())
        likely = powers / powers.sum()
        fed = [sum(likely[pack.labels.index(label)] for label in labels) for labels in pack.feeds.values()]
    else:
        likely = 1 / (1 + np.exp(-logits))
        fed = [max(likely[pack.labels.index(label)] for label in labels) for labels in pack.feeds.values()]
    return np.array([fed], np.float32)


def _table(scores: Sequence[TokenScore]) -> Array:
    rows: list[Mapping[str, float]] = [token.scores for token in scores]
    return np.array([list(row.values()) for row in rows], np.float32)


def _gap(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        raise VerificationError(f"{other.shape[0]} tokens were to be judged, {one.shape[0]} were")
    return float(np.abs(one - other).max())
