"""The manifest of family ``causal``: an incremental step with key/value state and a head a role."""

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

JudgedAt = Literal["tokens", "end"]
Tokenization = Literal["words", "runs"]


@dataclass(frozen=True, slots=True)
class RoleInput:
    """How turns of one role enter the network and which of its heads judges them."""

    marker: tuple[str, ...]
    """The tokens that open a turn of this role; none for a network that was never shown roles."""
    head: int | None
    """Index into the network's heads; None: context, never scored."""
    end: tuple[str, ...] = ()
    """The tokens that close its turns, before the next one opens."""
    judged_at: JudgedAt = "tokens"
    """Whether every token is judged where it stands, or the turn so far where a sentence ends, by the first token of
    ``end``, as networks need that were trained on whole turns."""


@dataclass(frozen=True, slots=True)
class CausalPack(NetworkPack):
    """A checked pack of family ``causal``."""

    roles: Mapping[Role, RoleInput]
    start_token: str | None
    """What every conversation begins with."""
    tokenization: Tokenization
    """How text becomes tokens: word by word (WordPiece), or in runs that are tokenized anew as they grow."""
    max_positions: int
    """Tokens the network can attend to at once; longer conversations are re-anchored."""
    layers: int
    heads: int
    """Of keys and values: with grouped queries fewer than of queries."""
    head_dim: int


class _Role(BaseModel):
    model_config = ConfigDict(extra="forbid")  # a typo here would quietly leave the closing tokens out

    marker: str | list[str]
    head: Annotated[int, Field(ge=0)] | None
    end: list[str] = []
    judged_at: JudgedAt = "tokens"

    def read(self) -> RoleInput:
        marker = (self.marker,) if isinstance(self.marker, str) else tuple(self.marker)
        return RoleInput(marker, self.head, tuple(self.end), self.judged_at)


class _CausalManifest(NetworkManifest):
    roles: dict[Role, _Role]
    start_token: str | None
    tokenization: Tokenization = "words"
    max_positions: Annotated[int, Field(ge=16)]
    layers: Size
    heads: Size
    head_dim: Size
    categories: Annotated[list[str], Field(min_length=1)]


def read_causal(directory: Path, raw: Mapping[str, Any]) -> CausalPack:
    """A pack of family ``causal`` from its manifest.

    Raises:
        PackError: it is not one this version can use.
    """
    manifest = parsed(directory, raw, _CausalManifest)
    roles = {role: entry.read() for role, entry in manifest.roles.items()}
    check_roles(directory, roles)
    if len(set(manifest.categories)) != len(manifest.categories):
        raise refusal(directory, "categories", "a name stands twice")
    _check_markers(directory, manifest, roles)
    for role, entry in roles.items():
        key = f"roles.{role.value}.judged_at"
        if entry.judged_at == "end" and role is not Role.USER:
            # What the model writes leaves word by word, and must have been judged by then (invariant 2).
            raise refusal(directory, key, "only the user's turns can be judged at their end")
        if entry.judged_at == "end" and (not entry.end or manifest.tokenization == "words"):
            raise refusal(directory, key, "needs tokens that end the turn, and tokenization: runs")
    judged = [role for role, entry in roles.items() if entry.head is not None]
    return CausalPack(
        **of_network(directory, manifest, manifest.categories, judged),
        roles=roles,
        start_token=manifest.start_token,
        tokenization=manifest.tokenization,
        max_positions=manifest.max_positions,
        layers=manifest.layers,
        heads=manifest.heads,
        head_dim=manifest.head_dim,
    )


def _check_markers(directory: Path, manifest: _CausalManifest, roles: Mapping[Role, RoleInput]) -> None:
    markers = [entry.marker for entry in roles.values()]
    if not any(markers):
        return  # a network that was never shown roles
    if not all(markers):
        raise refusal(directory, "roles", "either all roles have a marker or none has")
    if len({*markers, (manifest.start_token,)}) != len(markers) + 1:
        raise refusal(directory, "roles", "markers and start_token must differ from each other")
