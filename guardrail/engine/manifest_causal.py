"""The manifest of family ``causal``: an incremental step with key/value state and a head a role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

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


@dataclass(frozen=True, slots=True)
class RoleInput:
    """How turns of one role enter the network and which of its heads judges them."""

    marker: str
    """The token that opens a turn of this role."""
    head: int | None
    """Index into the network's heads; None: context, never scored."""


@dataclass(frozen=True, slots=True)
class CausalPack(NetworkPack):
    """A checked pack of family ``causal``."""

    roles: Mapping[Role, RoleInput]
    start_token: str
    max_positions: int
    """Tokens the network can attend to at once; longer conversations are re-anchored."""
    layers: int
    heads: int
    head_dim: int


class _Role(BaseModel):
    marker: str
    head: Annotated[int, Field(ge=0)] | None


class _CausalManifest(NetworkManifest):
    roles: dict[Role, _Role]
    start_token: str
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
    roles = manifest.roles
    check_roles(directory, roles)
    if len(set(manifest.categories)) != len(manifest.categories):
        raise refusal(directory, "categories", "a name stands twice")
    markers = [entry.marker for entry in roles.values()]
    if len({*markers, manifest.start_token}) != len(markers) + 1:
        raise refusal(directory, "roles", "markers and start_token must differ from each other")
    judged = [role for role, entry in roles.items() if entry.head is not None]
    return CausalPack(
        **of_network(directory, manifest, manifest.categories, judged),
        roles={role: RoleInput(entry.marker, entry.head) for role, entry in roles.items()},
        start_token=manifest.start_token,
        max_positions=manifest.max_positions,
        layers=manifest.layers,
        heads=manifest.heads,
        head_dim=manifest.head_dim,
    )
