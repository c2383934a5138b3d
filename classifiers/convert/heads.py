"""From hidden states to one logit a category, so that ``sigmoid(logit)`` is the model's own probability.

Labels that exclude each other are put under their softmax here, in the graph: the logit of a category is the
logarithm of the odds of its labels against all the others, as in ``guardrail.engine.labels``. Where a model judges
risk and kind of risk apart, a category's probability is the product of both. Heads are small and decide everything:
they stay in float. Each also works out its probabilities in numpy, to verify what was written by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from classifiers.convert.nodes import Nodes
from classifiers.convert.weights import Array, Weights

_LEAST = 1e-12
"""Least probability there is: a logit of 27.6."""


@dataclass(frozen=True)
class LabelHead:
    """One linear layer over labels.

    Args:
        weight: [labels, hidden].
        bias: [labels], if there is one.
        feeds: [labels, categories], 1 where a label counts towards a category.
        exclusive: whether labels exclude each other; else each stands for itself, and a category is as likely as the
            likeliest of its labels.
    """

    weight: Array
    bias: Array | None
    feeds: Array
    exclusive: bool

    def __call__(self, nodes: Nodes, hidden: str) -> str:
        """Write it; [N, categories]."""
        logits = nodes.linear(hidden, self.weight, self.bias, exact=True)
        if self.exclusive:
            return _log_odds(nodes, *_parts(nodes, logits, self.feeds))
        highest = [
            nodes.node(
                "ReduceMax",
                nodes.node("Gather", logits, nodes.const(np.flatnonzero(column)), axis=-1),
                nodes.ints(-1),
                keepdims=1,
            )
            for column in self.feeds.T
        ]
        return nodes.node("Concat", *highest, axis=-1)

    def chances(self, hidden: Array) -> Array:
        """The probabilities of categories, [T, categories], at hidden states [T, hidden]."""
        logits = hidden @ self.weight.T + (0 if self.bias is None else self.bias)
        if self.exclusive:
            return _softmax(logits) @ self.feeds
        highest = [logits[:, column > 0].max(axis=1) for column in self.feeds.T]
        return np.stack([1 / (1 + np.exp(-each)) for each in highest], axis=1)


@dataclass(frozen=True)
class GuardHead:
    """Qwen3Guard-Stream's head of one role: a narrow layer, its norm, then risk levels and categories.

    The tensors are ``risk_level_category_pre``, ``risk_level_category_layernorm``, ``risk_level_head`` and
    ``category_head``; those for queries have ``query_`` before their names.

    Args:
        weights: the checkpoint.
        prefix: ``query_`` or nothing.
        epsilon: of the norm.
        levels: [levels, 1], how much of a risk a level is, 0 to 1.
        feeds: [categories of the model, categories], 1 where one counts towards one of ours.
    """

    weights: Weights
    prefix: str
    epsilon: float
    levels: Array
    feeds: Array

    def __call__(self, nodes: Nodes, hidden: str) -> str:
        """Write it; [N, categories]."""
        narrow = nodes.linear(hidden, self._weight("risk_level_category_pre"), exact=True)
        narrow = nodes.rms_norm(narrow, self._weight("risk_level_category_layernorm"), self.epsilon)
        risk_logits, kind_logits = (
            nodes.linear(narrow, self._weight(name), exact=True)
            for name in ("risk_level_head", "category_head")
        )
        risk, no_risk = _parts(nodes, risk_logits, self.levels)
        kind, other = _parts(nodes, kind_logits, self.feeds)
        return _log_odds(
            nodes,
            nodes.node("Mul", risk, kind),
            nodes.node("Add", no_risk, nodes.node("Mul", risk, other)),
        )

    def chances(self, hidden: Array) -> Array:
        """The probabilities of categories, [T, categories], at hidden states [T, hidden]."""
        narrow = hidden @ self._weight("risk_level_category_pre").T
        size = np.sqrt((narrow**2).mean(axis=1, keepdims=True) + self.epsilon)
        narrow = narrow / size * self._weight("risk_level_category_layernorm")
        risk, kind = (
            _softmax(narrow @ self._weight(name).T) for name in ("risk_level_head", "category_head")
        )
        return np.asarray((risk @ self.levels) * (kind @ self.feeds))

    def _weight(self, name: str) -> Array:
        return self.weights[f"{self.prefix}{name}.weight"]


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _parts(nodes: Nodes, logits: str, shares: Array) -> tuple[str, str]:
    """Sums of the probabilities of exclusive labels by their shares, and what is left of 1; both without rounding."""
    likely = nodes.node("Softmax", logits, axis=-1)
    shares = shares.astype(np.float32)
    return (
        nodes.node("MatMul", likely, nodes.const(shares)),
        nodes.node("MatMul", likely, nodes.const(1 - shares)),
    )


def _log_odds(nodes: Nodes, for_it: str, against_it: str) -> str:
    least = nodes.number(_LEAST)
    logs = [nodes.node("Log", nodes.node("Max", each, least)) for each in (for_it, against_it)]
    return nodes.node("Sub", *logs)
