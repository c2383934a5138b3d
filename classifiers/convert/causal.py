"""A decoder, or a causal encoder, with heads over its tokens, to a pack of family ``causal``; without a framework."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from classifiers.convert import decoder, encoder
from classifiers.convert.errors import ConversionError
from classifiers.convert.heads import GuardHead, LabelHead
from classifiers.convert.manifest import MODEL, TOKENIZER, Naming, license_of, manifest, unmeasured, write
from classifiers.convert.maps import LabelMap, in_order, map_for, shares
from classifiers.convert.nodes import OPSET, Precision, save
from classifiers.convert.source import Source
from classifiers.convert.step import Head, step_graph
from classifiers.convert.turns import role_entries, tokenization, turns_for
from classifiers.convert.weights import Weights
from guardrail.core.verdicts import Role

GUARD = "Qwen3ForGuardModel"
DEFAULT_POSITIONS = 2048
"""Tokens a lane attends to at once, unless asked for more: state is held for each of them (ADR 19)."""
_LINEAR_HEADS = {
    **dict.fromkeys(decoder.MODEL_TYPES, "score"),
    **dict.fromkeys(encoder.MODEL_TYPES, "classifier"),
}


@dataclass(frozen=True)
class CausalOptions:
    """What may be asked for."""

    precision: Precision = "float"
    max_positions: int = DEFAULT_POSITIONS
    turns: str | None = None
    """A way to write turns; the map's, or the tokenizer's own, unless given."""
    categories: str | None = None
    """A map of labels, by name or file; the known one that fits, unless given."""


@dataclass(frozen=True)
class Judging:
    """The heads of a network and what they judge."""

    heads: Sequence[Head]
    roles: Mapping[Role, int]
    known: Mapping[Role, Sequence[str]]
    """The categories each role's head knows."""
    categories: Sequence[str]


def is_causal(source: Source) -> bool:
    """Whether every token of the model looks left only."""
    kind = source.config.get("model_type")
    return (
        source.architecture == GUARD
        or kind in decoder.MODEL_TYPES
        or (kind in encoder.MODEL_TYPES and bool(source.config.get("is_decoder")))
    )


def labels_of(source: Source) -> list[str]:
    """All labels of the model that a map has to know, but for the levels of risk."""
    if source.architecture != GUARD:
        return source.labels
    both = [*_listed(source, "query_category_map"), *_listed(source, "response_category_map")]
    return list(dict.fromkeys(both))


def convert(source: Source, output: Path, naming: Naming, options: CausalOptions) -> dict[str, Any]:
    """Write the pack; its manifest.

    Raises:
        ConversionError: the model cannot be made one.
    """
    license_of(source, naming)  # before the long work
    weights, config = Weights(source.directory), source.config
    map_name, mapping = map_for(source, options.categories, labels_of(source))
    judging = judging_of(source, weights, mapping)
    tokenizer = Tokenizer.from_file(str(source.directory / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    turns_name, turns = turns_for(tokenizer, options.turns or mapping.turns)
    reading = tokenization(tokenizer)
    kind = decoder.Decoder if config.get("model_type") in decoder.MODEL_TYPES else encoder.Encoder
    body = kind(config, weights, options.max_positions)
    graph = step_graph(
        body.geometry, body.write, list(judging.heads), len(judging.categories), options.precision
    )
    output.mkdir(parents=True, exist_ok=True)
    data = save(graph, output / MODEL)
    shutil.copyfile(source.directory / TOKENIZER, output / TOKENIZER)
    content = {
        **manifest(
            output,
            source,
            naming,
            "causal",
            OPSET,
            weights=data,
            map=map_name,
            turns=turns_name,
            precision=options.precision,
        ),
        "start_token": turns.start,
        "tokenization": reading,
        "roles": role_entries(tokenizer, turns, judging.roles),
        "max_positions": body.geometry.max_positions,
        "layers": body.geometry.layers,
        "heads": body.geometry.key_heads,
        "head_dim": body.geometry.head_dim,
        "categories": list(judging.categories),
        **unmeasured(mapping, judging.known, judging.categories),
    }
    write(output, content)
    return content


def judging_of(source: Source, weights: Weights, mapping: LabelMap) -> Judging:
    """The heads of the model under a map of its labels.

    Raises:
        ConversionError: it has none that is known here, or the map does not fit them.
    """
    if source.architecture == GUARD:
        return _guard_judging(source, weights, mapping)
    return _label_judging(source, weights, mapping)


def _guard_judging(source: Source, weights: Weights, mapping: LabelMap) -> Judging:
    if not mapping.levels:
        raise ConversionError("levels: the model judges levels of risk; the map must say what each is worth")
    sides = {Role.USER: ("query_", "query"), Role.ASSISTANT: ("", "response")}
    fed = {
        role: mapping.categories_of(_listed(source, f"{side}_category_map"))
        for role, (_, side) in sides.items()
        if role in mapping.judged
    }
    categories = in_order([several for each in fed.values() for several in each])
    heads = [
        GuardHead(
            weights,
            sides[role][0],
            float(source.config["rms_norm_eps"]),
            mapping.level_shares(_listed(source, f"{sides[role][1]}_risk_level_map")),
            shares(each, categories),
        )
        for role, each in fed.items()
    ]
    return Judging(
        heads,
        {role: index for index, role in enumerate(fed)},
        {role: in_order(each) for role, each in fed.items()},
        categories,
    )


def _label_judging(source: Source, weights: Weights, mapping: LabelMap) -> Judging:
    name = _LINEAR_HEADS.get(str(source.config.get("model_type")), "score")
    if f"{name}.weight" not in weights:
        raise ConversionError(
            f"{source.architecture or 'the checkpoint'}: no head {name!r} over labels; a classifier of tokens or "
            "sequences has one"
        )
    fed = mapping.categories_of(source.labels)
    categories = in_order(fed)
    head = LabelHead(
        weights[f"{name}.weight"],
        weights.optional(f"{name}.bias"),
        shares(fed, categories),
        activation_of(source, mapping) == "softmax",
    )
    if head.exclusive and head.feeds.all(axis=0).any():
        raise ConversionError(
            "labels: labels that exclude each other cannot all count towards one category: set the harmless one to null"
        )
    return Judging(
        [head], dict.fromkeys(mapping.judged, 0), dict.fromkeys(mapping.judged, categories), categories
    )


def activation_of(source: Source, mapping: LabelMap) -> str:
    """Whether labels exclude each other: the map's word, else the model's own."""
    if mapping.activation is not None:
        return mapping.activation
    several = source.config.get("problem_type") == "multi_label_classification"
    return "sigmoid" if several or len(source.labels) == 1 else "softmax"


def _listed(source: Source, key: str) -> list[str]:
    """The labels of a ``{"0": label}`` map of the config, in order."""
    found = source.config.get(key)
    if not isinstance(found, dict):
        raise ConversionError(f"config.json: no {key}")
    return [str(found[index]) for index in sorted(found, key=int)]
