"""Which classifier this is, so that two processes can be sure they mean the same one.

Thresholds mean something for the very pack they were made for, so a sidecar that scores in another process
compares what it was configured with against what runs there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from guardrail.engine.manifest import MANIFEST, Pack


@dataclass(frozen=True, slots=True)
class PackIdentity:
    """A pack, wherever it lies."""

    name: str
    version: str
    checksum: str
    """SHA-256 of its manifest, which holds those of network and tokenizer, calibration and operating points."""

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.checksum[:12]})"


def identity(pack: Pack) -> PackIdentity:
    """The identity of a pack that was loaded."""
    manifest = (pack.directory / MANIFEST).read_bytes()
    return PackIdentity(pack.name, pack.version, hashlib.sha256(manifest).hexdigest())


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
