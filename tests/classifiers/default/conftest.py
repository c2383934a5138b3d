"""The shipped pack's tokenizer, and rows that somebody made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from classifiers.default.conversation import Encoder

PACK = Path(__file__).resolve().parents[3] / "classifiers" / "packs" / "default"


@pytest.fixture(scope="session")
def pack_directory():
    return PACK


@pytest.fixture(scope="session")
def encoder():
    return Encoder.load(PACK)
