"""Small tokenizers of three kinds, and packs of family ``window`` around a small real network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tests.engine.onnx_graphs import classifier

_CORPUS = [
    "the cat sat on the mat. it's a cat, isn't it?",
    "hello world! you fool, this is doom. naïve cafés",
    "漢字日本語 한국어 हिन्दी 😀 https://example.org/a/b?c=d",
]
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def toy_tokenizer() -> Tokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789漢字日本"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "[unused2]", "[unused3]"]
    words += [
        *letters,
        *(f"##{letter}" for letter in letters),
        *".,!?'\"-:;()[]/$",
        "the",
        "cat",
        "sat",
        "##ing",
    ]
    words += ["。", "、", "…", "—"]
    tokenizer = Tokenizer(
        models.WordPiece(
            {word: index for index, word in enumerate(words)}, unk_token="[UNK]", max_input_chars_per_word=100
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    # As a sentence encoder's file comes: cutting and padding.
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    return tokenizer


def byte_level_tokenizer() -> Tokenizer:
    """As RoBERTa's."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        _CORPUS * 9,
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def unigram_tokenizer() -> Tokenizer:
    """As those of XLM-R and DeBERTa-v3: SentencePiece, white space as part of the word.

    Its vocabulary is written down, because no two trainings give the same.
    """
    pieces = [(piece, 0.0) for piece in _SPECIAL]  # SentencePiece's own scores for them
    pieces += [(piece, -5.0) for piece in "▁abcdefghijklmnopqrstuvwxyzT.,!?'/:<>é漢字日本語한국"]
    words = ("the", "cat", "sat", "on", "mat", "it", "isn", "hello", "world", "you", "fool", "doom", "na")
    pieces += [(f"▁{piece}", -3.0) for piece in words] + [
        (piece, -4.0) for piece in ("he", "at", "oo", "漢字", "日本")
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=_SPECIAL.index("<unk>")))
    # SentencePiece's own normalizer makes one space of all white space, too.
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


WINDOW_LABELS = ("fine", "insult", "threat")
# What the toy classifier says of a window that holds the token; "fine" feeds no category.
WINDOW_WORDS = {"doom": (-4, -4, 4), "fool": (-4, 3, -4), "##ing": (-4, 1, 1)}


def window_tokenizer() -> Tokenizer:
    """As BERT's."""
    tokenizer = toy_tokenizer()
    tokenizer.add_tokens(["doom", "fool"])
    cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return tokenizer


def write_window_pack(directory: Path, tokenizer=None, graph=None, **changes) -> Path:
    """Write a window pack with a real network; keyword arguments replace manifest keys, ``...`` removes one.

    ``tokenizer`` stands in for the toy's, ``graph`` holds arguments of ``onnx_graphs.classifier``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer or window_tokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    words = {tokenizer.token_to_id(word): logits for word, logits in WINDOW_WORDS.items()}
    words = {token: logits for token, logits in words.items() if token is not None} or {0: (-4, -4, -4)}
    options = {"vocabulary": tokenizer.get_vocab_size(), **(graph or {})}
    (directory / "model.onnx").write_bytes(classifier(words, **options))

    def entry(file, **more):
        return {"file": file, "sha256": hashlib.sha256((directory / file).read_bytes()).hexdigest(), **more}

    line = {"scale": 1.0, "offset": 0.0}
    categories = {"hate_harassment": ["insult"], "violence": ["threat", "insult"]}
    points = {name: {1: 0.3, 2: 0.5, 3: 0.8} for name in categories}
    manifest = {
        "format": 1,
        "name": "toy-window",
        "version": "1",
        "family": "window",
        "license": "Apache-2.0",
        "model": entry("model.onnx", opset=18),
        "tokenizer": entry("tokenizer.json"),
        "inputs": ["input_ids", "attention_mask", "token_type_ids"],
        "activation": "sigmoid",
        "labels": list(WINDOW_LABELS),
        "categories": categories,
        "max_tokens": 24,
        "stride": 4,
        "roles": {
            "user": {"judged_at": "sentences"},
            "assistant": {"judged_at": "words", "context": "user_turn", "context_tokens": 6},
            "system": {"judged_at": "never"},
        },
        "calibration": {role: dict.fromkeys(categories, line) for role in ("user", "assistant")},
        "operating_points": dict.fromkeys(("user", "assistant"), points),
        "languages": ["en"],
        "data": "none",
        **changes,
    }
    (directory / "manifest.yaml").write_text(
        yaml.safe_dump({key: value for key, value in manifest.items() if value is not ...}), encoding="utf-8"
    )
    return directory
