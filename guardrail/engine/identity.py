"""Which classifier this is, so that two processes can be sure they mean the same one.

Thresholds mean something for the very pack they were made for, so a sidecar that scores in another process
compares what it was configured with against what runs there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardrail.engine.gate import Gating
from guardrail.engine.manifest import MANIFEST, Pack


@dataclass(frozen=True, slots=True)
class PackIdentity:
    """A pack, wherever it lies."""

    name: str
    version: str
    checksum: str
    """SHA-256 of its manifest, which holds those of network and tokenizer, calibration and operating points; of a
    pack that is gated or only gates, of that and how."""

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.checksum[:12]})"


def identity(pack: Pack) -> PackIdentity:
    """The identity of a pack that was loaded."""
    manifest = (pack.directory / MANIFEST).read_bytes()
    return PackIdentity(pack.name, pack.version, hashlib.sha256(manifest).hexdigest())


def identities(packs: Sequence[Pack], gating: Gating) -> list[PackIdentity]:
    """The identities of packs as they are asked: one that is gated elsewhere is another, for it hides findings."""
    alone = [identity(pack) for pack in packs]
    return [_asked(alone, place, gating) for place in range(len(alone))]


def _asked(alone: Sequence[PackIdentity], place: int, gating: Gating) -> PackIdentity:
    pack, name, how = alone[place], alone[place].name, ""
    if place in gating.gates:
        at, rule = gating.gates[place]
        gate, categories = alone[at], ",".join(sorted(rule.categories))
        name += f" gated by {gate.name} from {rule.threshold:g}{categories and f' in {categories}'}"
        how += f"gated by {gate.checksum} from {rule.threshold!r} in {categories}"
    if place in gating.silent:
        name += " that only gates"
        how += "only gates"
    if not how:
        return pack
    checksum = hashlib.sha256(f"{pack.checksum} {how}".encode()).hexdigest()
    return replace(pack, name=name, checksum=checksum)


@dataclass(frozen=True, slots=True)
class Engine:
    """What scores, told to those who use it from another process."""

    scorer: str
    """What records call it."""
    packs: tuple[PackIdentity, ...]
    categories: tuple[str, ...]
    provider: str
    """Where it runs."""
    why_not_cuda: str
    """Why it runs on the CPU; empty where it does not."""
    version: str
    """Of the package that runs it."""
