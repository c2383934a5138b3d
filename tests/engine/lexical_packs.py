"""Packs of family ``lexical``, written for a test."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml

PATTERNS = [
    {"name": "card", "category": "payment_card", "match": r"\d{4}(?: ?\d{4}){3}", "longest": 19, "check": "stdnum.luhn"},
    {"name": "pin", "category": "secret_credential", "match": r"pin-[a-f]{4}(?: [a-f]{2})?", "longest": 11, "score": 0.8},
    {"name": "project", "category": "secret_credential", "words": ["blue harbour", "Harbour"]},
]  # fmt: skip


def write_lexical_pack(directory: Path, written=PATTERNS, **changes) -> Path:
    """Write a pack; keyword arguments replace manifest keys, ``...`` removes one."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "patterns.yaml"
    file.write_text(yaml.safe_dump({"patterns": written}))
    points = {name: {1: 0.5, 2: 0.7, 3: 0.9} for name in ("payment_card", "secret_credential")}
    manifest = {
        "format": 1,
        "family": "lexical",
        "name": directory.name,
        "version": "1",
        "license": "Apache-2.0",
        "languages": ["en"],
        "data": "none",
        "patterns": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        "categories": list(points),
        "roles": {"user": True, "assistant": True, "system": False},
        "operating_points": dict.fromkeys(("user", "assistant"), points),
        **changes,
    }
    kept = {key: value for key, value in manifest.items() if value is not ...}
    (directory / "manifest.yaml").write_text(yaml.safe_dump(kept))
    return directory
