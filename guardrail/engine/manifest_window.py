"""The manifest of family ``window``: a sequence classifier as it was exported, run over windows of a text.

Which windows those are is ``windows``' business, what its labels mean for a category ``labels``'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from guardrail.core.verdicts import Role
from guardrail.engine.manifest import (
    NetworkManifest,
    NetworkPack,
    Size,
    check_roles,
    of_network,
    parsed,
    refusal,
)

Activation = Literal["sigmoid", "softmax"]
InputName = Literal["input_ids", "attention_mask", "token_type_ids"]
JudgedAt = Literal["words", "sentences", "never"]

_NEEDED: tuple[InputName, ...] = ("input_ids", "attention_mask")


@dataclass(frozen=True, slots=True)
class WindowRole:
    """How turns of one role are judged."""

    judged_at: JudgedAt
    """Where windows end: at every word, at every sentence and line, or nowhere."""
    context_tokens: int
    """How much of the end of the last user turn stands before the turn, as the first segment; 0: nothing."""


@dataclass(frozen=True, slots=True)
class WindowPack(NetworkPack):
    """A checked pack of family ``window``."""

    inputs: tuple[InputName, ...]
    """What the network takes."""
    activation: Activation
    """Whether its labels stand for themselves, or exclude each other."""
    labels: tuple[str, ...]
    """In the order of the network's output."""
    feeds: Mapping[str, tuple[str, ...]]
    """Category to the labels that count towards it, in the order of ``categories``."""
    roles: Mapping[Role, WindowRole]
    max_tokens: int
    """Longest window, context and special tokens included."""
    stride: int
    """Tokens between the places where windows may begin."""


class _Role(BaseModel):
    model_config = ConfigDict(extra="forbid")  # a typo here would quietly leave the context out

    judged_at: JudgedAt
    context: Literal["none", "user_turn"] = "none"
    context_tokens: Size | None = None


class _WindowManifest(NetworkManifest):
    inputs: list[InputName]
    activation: Activation
    labels: Annotated[list[str], Field(min_length=1)]
    categories: Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]
    roles: dict[Role, _Role]
    max_tokens: Annotated[int, Field(ge=16)]
    stride: Size


def read_window(directory: Path, raw: Mapping[str, Any]) -> WindowPack:
    """A pack of family ``window`` from its manifest.

    Raises:
        PackError: it is not one this version can use.
    """
    manifest = parsed(directory, raw, _WindowManifest)
    check_roles(directory, manifest.roles)
    _check_inputs(directory, manifest)
    _check_labels(directory, manifest)
    for role in Role:
        _check_role(directory, manifest, role, manifest.roles[role])
    judged = [role for role, entry in manifest.roles.items() if entry.judged_at != "never"]
    return WindowPack(
        **of_network(directory, manifest, list(manifest.categories), judged),
        inputs=tuple(manifest.inputs),
        activation=manifest.activation,
        labels=tuple(manifest.labels),
        feeds={name: tuple(labels) for name, labels in manifest.categories.items()},
        roles={
            role: WindowRole(entry.judged_at, entry.context_tokens or 0)
            for role, entry in manifest.roles.items()
        },
        max_tokens=manifest.max_tokens,
        stride=manifest.stride,
    )


def _check_inputs(directory: Path, manifest: _WindowManifest) -> None:
    for name in _NEEDED:
        if name not in manifest.inputs:
            raise refusal(directory, "inputs", f"{name} is missing")
    if len(set(manifest.inputs)) != len(manifest.inputs):
        raise refusal(directory, "inputs", "a name stands twice")


def _check_labels(directory: Path, manifest: _WindowManifest) -> None:
    if len(set(manifest.labels)) != len(manifest.labels):
        raise refusal(directory, "labels", "a name stands twice")
    for category, labels in manifest.categories.items():
        key = f"categories.{category}"
        unknown = [label for label in labels if label not in manifest.labels]
        if unknown:
            raise refusal(directory, key, f"{unknown[0]!r} is none of the labels")
        if len(set(labels)) != len(labels):
            raise refusal(directory, key, "a label stands twice")
        if manifest.activation == "softmax" and len(labels) == len(manifest.labels):
            raise refusal(directory, key, "with softmax, all labels together are certain: leave one out")


def _check_role(directory: Path, manifest: _WindowManifest, role: Role, entry: _Role) -> None:
    key = f"roles.{role.value}"
    if role is not Role.USER and entry.judged_at == "sentences":
        # What the model writes leaves word by word, and must have been judged by then (invariant 2).
        raise refusal(directory, f"{key}.judged_at", "only the user's turns can be judged by sentence")
    if (entry.context == "none") != (entry.context_tokens is None):
        raise refusal(
            directory, f"{key}.context_tokens", "goes with context: user_turn, and with nothing else"
        )
    room = manifest.max_tokens - (entry.context_tokens or 0)
    if entry.judged_at != "never" and 2 * manifest.stride > room:
        raise refusal(
            directory, "stride", f"must be at most half of what max_tokens leaves to the {role.value}"
        )
