"""A toy pack and a toy network with exact arithmetic, and the real pack where there is one.

The toy network remembers each token's id and position, and its logits are a checksum of all that a
token may see: one wrong, missing, doubled or misplaced token anywhere in the past changes them. Its
arithmetic is in whole numbers, so that equal means equal.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

from guardrail.engine.cache import Geometry
from guardrail.engine.causal import CausalScorer
from guardrail.engine.causal_session import StepInput, StepOutput
from guardrail.engine.pack import load_pack
from tests.engine.chat_packs import CHATML_ROLES, chat_tokenizer
from tests.engine.window_packs import toy_tokenizer, write_window_pack

CATEGORIES = ("crime", "self_harm")
GEOMETRY = Geometry(layers=2, heads=1, head_dim=2, max_positions=64, dtype=np.dtype(np.float32))


class ToyNetwork:
    """A network whose logits prove what it was shown; ``gate`` and ``broken`` are for the runner's tests."""

    geometry = GEOMETRY

    def __init__(self):
        self.shapes = []
        """Rows and longest row of every step."""
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.broken = False

    def run(self, step: StepInput) -> StepOutput:
        self.entered.release()
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("toy network is broken")
        self.shapes.append(step.slots.shape)
        own = np.stack([step.input_ids, step.position_ids], axis=-1).astype(np.float32)
        assert (step.slots.reshape(-1)[step.places] == np.arange(len(own))).all()
        new_keys = np.broadcast_to(own[None, :, None], (2, len(own), 1, 2)).copy()
        logits = np.zeros((len(own), 2, len(CATEGORIES)), np.float32)
        for row, length in enumerate(step.past_length):
            tokens = np.flatnonzero(step.places // step.slots.shape[1] == row)
            seen = np.concatenate([step.past_keys[1][row, 0, :, :length].T, own[tokens]])
            values = np.concatenate([step.past_values[0][row, 0, :length], -own[tokens]])
            assert (seen == -values).all()
            checksums = np.cumsum((seen[:, 0].astype(np.int64) + 7) * (seen[:, 1].astype(np.int64) + 3))
            for token, checksum in zip(tokens, checksums[length:], strict=True):
                logits[token] = [[checksum % 101, checksum % 103], [checksum % 107, checksum % 109]]
        return StepOutput(logits, new_keys, -new_keys)


def write_toy_pack(directory: Path, tokenizer=None, /, **changes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(b"not a network")
    (tokenizer or toy_tokenizer()).save(str(directory / "tokenizer.json"))

    def entry(file, **more):
        return {"file": file, "sha256": hashlib.sha256((directory / file).read_bytes()).hexdigest(), **more}

    line = {"scale": 0.02, "offset": -1.0}
    points = {"crime": {1: 0.3, 2: 0.5, 3: 0.8}, "self_harm": None}
    manifest = {
        "format": 1,
        "name": "toy",
        "version": "1",
        "family": "causal",
        "license": "Apache-2.0",
        "model": entry("model.onnx", opset=17),
        "tokenizer": entry("tokenizer.json"),
        "roles": {
            "user": {"marker": "[unused1]", "head": 0},
            "assistant": {"marker": "[unused2]", "head": 1},
            "system": {"marker": "[unused3]", "head": None},
        },
        "start_token": "[CLS]",
        "max_positions": GEOMETRY.max_positions,
        "layers": GEOMETRY.layers,
        "heads": GEOMETRY.heads,
        "head_dim": GEOMETRY.head_dim,
        "categories": list(CATEGORIES),
        "calibration": {role: dict.fromkeys(CATEGORIES, line) for role in ("user", "assistant")},
        "operating_points": dict.fromkeys(("user", "assistant"), points),
        "languages": ["en"],
        "data": "none",
        **changes,
    }
    (directory / "manifest.yaml").write_text(
        yaml.safe_dump({key: value for key, value in manifest.items() if value is not ...}), encoding="utf-8"
    )
    return directory


@pytest.fixture
def geometry():
    return GEOMETRY


@pytest.fixture(scope="session")
def write_pack():
    """Write a toy pack to a directory; keyword arguments replace manifest keys, ``...`` removes one."""
    return write_toy_pack


@pytest.fixture(scope="session")
def toy_pack(tmp_path_factory):
    return load_pack(write_toy_pack(tmp_path_factory.mktemp("packs") / "toy"))


@pytest.fixture(scope="session")
def write_chat_pack():
    """As ``write_pack``, with turns as in ChatML and a tokenizer that looks beyond words."""

    def write(directory, **changes):
        options = {"roles": CHATML_ROLES, "start_token": None, "tokenization": "runs", **changes}
        return write_toy_pack(directory, chat_tokenizer(), **options)

    return write


@pytest.fixture
def toy_network():
    return ToyNetwork()


@pytest.fixture
def make_scorer(toy_pack):
    """Toy scorers, closed at the end; keyword arguments go to ``CausalScorer``."""
    made = []

    def make(network=None, **options):
        made.append(CausalScorer(toy_pack, network or ToyNetwork(), **options))
        return made[-1]

    yield make
    for scorer in made:
        scorer.runner._step._network.gate.set()
        scorer.close()


@pytest.fixture(scope="session")
def shared_scorer(toy_pack):
    """A toy scorer for tests that only score."""
    scorer = CausalScorer(toy_pack, ToyNetwork())
    yield scorer
    scorer.close()


@pytest.fixture(scope="session")
def real_pack_directory():
    """The pack the package ships, or the one named by GUARDRAIL_TEST_PACK."""
    default = Path(__file__).resolve().parents[2] / "classifiers" / "packs" / "default"
    directory = Path(os.environ.get("GUARDRAIL_TEST_PACK", default))
    if not (directory / "manifest.yaml").is_file():
        pytest.skip("there is no trained pack in classifiers/packs/default")
    return directory


@pytest.fixture(scope="session")
def window_pack(tmp_path_factory):
    """A pack of family ``window`` with a real network."""
    return load_pack(write_window_pack(tmp_path_factory.mktemp("packs") / "toy-window"))


@pytest.fixture(scope="session", name="write_window_pack")
def write_window_pack_fixture():
    return write_window_pack
