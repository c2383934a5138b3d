"""Converted packs against transformers' own forward pass: where the framework is, on models that it made itself."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="torch is not installed: make test-train")
pytest.importorskip("transformers", reason="transformers is not installed: make test-train")

import torch
import transformers

from classifiers.convert.__main__ import main
from guardrail.core.segments import word_ends
from guardrail.core.verdicts import Role
from guardrail.engine.framing import Framed
from guardrail.engine.loading import load_scorer
from guardrail.engine.pack import load_pack
from guardrail.engine.window_session import WindowSession
from tests.classifiers.convert import record
from tests.classifiers.convert.odds import GUARD_CATEGORIES, guard_logits, label_logits
from tests.classifiers.convert.steps import Steps
from tests.classifiers.convert.tiny import CONFIGS, write_model
from tests.engine.chat_packs import chat_tokenizer
from tests.engine.lanes import score
from tests.engine.window_packs import byte_level_tokenizer, toy_tokenizer, unigram_tokenizer, window_tokenizer

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("default")]

TOLERANCE = 2e-4
"""Of logits: the same sums in another order."""
LABELS = ("fine", "insult", "threat")
MAP = {"labels": {"fine": None, "insult": "hate_harassment", "threat": ["violence", "hate_harassment"]}}
SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 128, "pad_token_id": 0, "id2label": dict(enumerate(LABELS)),
}  # fmt: skip
SLIDING = {"sliding_window": 64}
DECODERS = {
    "llama-tokens": ("LlamaForTokenClassification", {"num_key_value_heads": 2}),
    "llama-sequence": ("LlamaForSequenceClassification", {"num_key_value_heads": 4, "attention_bias": True}),
    "llama-long": (
        "LlamaForTokenClassification",
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}, "head_dim": 6},
    ),
    "mistral": ("MistralForTokenClassification", {"num_key_value_heads": 1, **SLIDING}),
    "qwen2": ("Qwen2ForTokenClassification", {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "qwen3": ("Qwen3ForTokenClassification", {"num_key_value_heads": 2, "head_dim": 16}),
    "qwen3-sequence": ("Qwen3ForSequenceClassification", {"num_key_value_heads": 2, "head_dim": 16}),
    "bert": ("BertForTokenClassification", {"is_decoder": True}),
}
WINDOWS = {
    "bert": ("BertForSequenceClassification", {}, window_tokenizer),
    "roberta": ("RobertaForSequenceClassification", {"type_vocab_size": 1}, byte_level_tokenizer),
    "xlm-roberta": ("XLMRobertaForSequenceClassification", {"type_vocab_size": 1}, unigram_tokenizer),
    "distilbert": (
        "DistilBertForSequenceClassification",
        {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
        window_tokenizer,
    ),
    "deberta": (
        "DebertaForSequenceClassification",
        {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        byte_level_tokenizer,
    ),
    "deberta-v2": (
        "DebertaV2ForSequenceClassification",
        {
            "type_vocab_size": 0, "relative_attention": True, "position_buckets": 16, "pos_att_type": ["c2p", "p2c"],
            "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False,
        },
        unigram_tokenizer,
    ),
}  # fmt: skip


def make(directory, architecture, sizes, tokenizer, *, dtype=torch.float32, shard="5GB"):
    """A random model of transformers' own class, saved by itself."""
    family = architecture.partition("For")[0]
    config = getattr(transformers, f"{family}Config")(
        **{**SIZES, **sizes}, vocab_size=tokenizer.get_vocab_size()
    )
    torch.manual_seed(len(architecture))
    model = getattr(transformers, architecture)(config).eval()
    for name, parameter in model.named_parameters():
        scale, mean = (0.1, 1.0) if "norm" in name.lower() and name.endswith("weight") else (0.3, 0.0)
        torch.nn.init.normal_(parameter, mean, scale)
    model.to(dtype).save_pretrained(directory, max_shard_size=shard)
    tokenizer.save(str(directory / "tokenizer.json"))
    return type(model).from_pretrained(directory, dtype=torch.float32).eval()


def convert(directory, pack, *options):
    (directory.parent / "map.yaml").write_text(yaml.safe_dump(MAP), encoding="utf-8")
    command = [str(directory), "--output", str(pack), "--license", "Apache-2.0", *options]
    assert main([*command, "--categories", str(directory.parent / "map.yaml")]) == 0


def token_logits(model, ids):
    """The label logits at every token; a classifier of sequences is asked for every beginning of the text."""
    given = torch.tensor([ids])
    with torch.no_grad():
        if "Sequence" in type(model).__name__:
            return np.stack([model(given[:, : end + 1]).logits[0].numpy() for end in range(len(ids))])
        return model(given).logits[0].numpy()


@pytest.mark.parametrize("name", DECODERS)
def test_a_causal_model_says_the_same_token_by_token(name, tmp_path):
    architecture, sizes = DECODERS[name]
    tokenizer = toy_tokenizer() if name == "bert" else chat_tokenizer()
    model = make(tmp_path / "model", architecture, sizes, tokenizer)
    convert(tmp_path / "model", tmp_path / "pack")
    steps = Steps(tmp_path / "pack")
    length = 60
    lots = np.random.RandomState(1)
    texts = [lots.randint(0, tokenizer.get_vocab_size(), size).tolist() for size in (length, 7, 31, 1)]
    expected = [label_logits({"labels": token_logits(model, ids)}, LABELS, exclusive=True) for ids in texts]

    assert np.abs(steps.whole(texts[0]) - expected[0]).max() < TOLERANCE
    for size in (1, 2, 5, 16, 59):
        (found,) = steps.feed(texts[:1], lambda _row, _done, size=size: size)
        assert np.abs(found - expected[0]).max() < TOLERANCE
    together = steps.feed(texts, lambda _row, _done: int(lots.randint(1, 6)))
    for found, each in zip(together, expected, strict=True):
        assert np.abs(found - each).max() < TOLERANCE


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_a_checkpoint_in_bfloat16_and_in_parts_is_the_same_model(shard, tmp_path):
    architecture, sizes = DECODERS["qwen3"]
    model = make(tmp_path / "model", architecture, sizes, chat_tokenizer(), dtype=torch.bfloat16, shard=shard)
    assert (shard == "20KB") == (tmp_path / "model" / "model.safetensors.index.json").exists()
    convert(tmp_path / "model", tmp_path / "pack")
    ids = list(range(40))

    expected = label_logits({"labels": token_logits(model, ids)}, LABELS, exclusive=True)
    assert np.abs(Steps(tmp_path / "pack").whole(ids) - expected).max() < TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
def test_what_was_recorded_is_what_the_framework_says_today(name, tmp_path):
    directory = write_model(tmp_path / name, name)
    found = record.framework_logits(directory, name, record.ids_of(name))
    recorded = yaml.safe_load(record.RECORDED.read_text("utf-8"))[name]

    for head, values in recorded.items():
        assert np.abs(found[head] - np.array(values)).max() < 1e-4


TURNS = "<|im_start|>system\nabc<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
ANSWER = "the cat sat.\n\nthe 漢字日本語 cat... abc 👩‍👩‍👧 it's 42"


def test_the_engine_says_of_every_word_what_the_framework_says_of_the_text_so_far(tmp_path):
    directory = write_model(tmp_path / "guard", "guard")
    assert main([str(directory), "--output", str(tmp_path / "pack"), "--license", "x"]) == 0
    prompt = "hello. the cat?"
    scorer = load_scorer(tmp_path / "pack", "cpu", intra_op_threads=1)
    try:
        before = [(Role.SYSTEM, ["abc"]), (Role.USER, [prompt])]
        asked = asyncio.run(score(scorer, *before))
        answered = asyncio.run(score(scorer, *before, (Role.ASSISTANT, [ANSWER])))
    finally:
        scorer.close()

    def chances(text, side):
        ids = chat_tokenizer().encode(text, add_special_tokens=False).ids
        logits = guard_logits(record.framework_logits(directory, "guard", ids))[-1, side]
        return 1 / (1 + np.exp(-logits))

    def said(token):
        return [token.scores[category] for category in GUARD_CATEGORIES]

    context = TURNS.format(prompt=prompt)
    for end in word_ends(ANSWER, final=True):
        last = [token for token in answered if token.span.end <= end][-1]
        assert np.abs(said(last) - chances(context + ANSWER[:end], 1)).max() < TOLERANCE
    user = "<|im_start|>system\nabc<|im_end|>\n<|im_start|>user\n"
    assert np.abs(said(asked[-1]) - chances(f"{user}{prompt}<|im_end|>", 0)).max() < TOLERANCE
    assert np.abs(said(asked[0]) - chances(f"{user}hello.<|im_end|>", 0)).max() < TOLERANCE


@pytest.mark.parametrize("name", WINDOWS)
def test_a_classifier_that_looks_both_ways_says_the_same_of_every_window(name, tmp_path):
    architecture, sizes, tokenizer = WINDOWS[name]
    model = make(tmp_path / "model", architecture, sizes, tokenizer())
    convert(tmp_path / "model", tmp_path / "pack", "--max-tokens", "64")
    pack = load_pack(tmp_path / "pack")
    session = WindowSession(pack, provider="cpu", intra_op_threads=1)
    lots = np.random.RandomState(2)
    # Not the ids that a family keeps for padding: a text holds none.
    rows = [lots.randint(5, tokenizer().get_vocab_size(), size).tolist() for size in (64, 3, 17, 40)]
    windows = [Framed(tuple(ids), (0,) * len(ids)) for ids in rows]
    expected = []
    with torch.no_grad():
        for ids in rows:
            given = torch.tensor([ids])
            expected.append(model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0].numpy())

    assert np.abs(session.run(windows) - np.stack(expected)).max() < TOLERANCE
    assert (
        np.abs(np.concatenate([session.run([each]) for each in windows]) - np.stack(expected)).max()
        < TOLERANCE
    )
    assert pack.labels == LABELS


def test_positions_that_roberta_keeps_to_itself_are_not_used(tmp_path):
    architecture, sizes, tokenizer = WINDOWS["roberta"]
    make(tmp_path / "model", architecture, {**sizes, "max_position_embeddings": 34}, tokenizer())
    convert(tmp_path / "model", tmp_path / "pack")

    assert load_pack(tmp_path / "pack").max_tokens == 32


def test_a_pack_that_says_something_else_is_not_kept(tmp_path, capsys, monkeypatch):
    from classifiers.convert import verify

    monkeypatch.setattr(verify, "FRAMEWORK_TOLERANCE", -1.0)
    architecture, sizes = DECODERS["qwen3"]
    make(tmp_path / "model", architecture, sizes, chat_tokenizer())
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(MAP), encoding="utf-8")
    command = [str(tmp_path / "model"), "--output", str(tmp_path / "pack"), "--license", "x"]

    assert main([*command, "--categories", str(tmp_path / "map.yaml")]) == 1
    assert "scores differ from the framework's" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()
