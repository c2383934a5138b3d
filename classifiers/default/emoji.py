"""Emoji for the vocabulary: a word that holds one would otherwise be one unknown token.

BERT's vocabulary has 994 slots that stand for nothing. The emoji of `emoji.txt` take some of them, as
added tokens, which a tokenizer cuts out of a text before it looks for words; their embeddings begin as the mean of
the pieces of their Unicode names.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

EMOJI = tuple(Path(__file__).with_name("emoji.txt").read_text(encoding="utf-8").replace("\n", ""))
"""The commonest of licence tier A, by code point; modifiers and joiners stand by themselves."""

FIRST_SLOT = 20
"""The first of the `[unused]` tokens that is renamed; those before it are for markers."""


def _slots(vocabulary: dict[str, int]) -> list[str]:
    names = (f"[unused{index}]" for index in range(FIRST_SLOT, 994))
    return [name for name in names if name in vocabulary]


def add_emoji(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """A BERT `tokenizer.json` with emoji in place of unused tokens; as it is if it has them already.

    Raises:
        ValueError: there are fewer unused tokens than emoji.
    """
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    missing = [char for char in EMOJI if char not in vocabulary]
    slots = _slots(vocabulary)
    if len(slots) < len(missing):
        raise ValueError(f"{len(missing)} emoji for {len(slots)} unused tokens")
    renamed = dict(zip(slots, missing, strict=False))
    vocabulary = {renamed.get(name, name): index for name, index in vocabulary.items()}
    added = [
        {
            "id": vocabulary[char],
            "content": char,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": False,
        }
        for char in missing
    ]
    tokens = sorted([*tokenizer["added_tokens"], *added], key=lambda token: int(token["id"]))
    return {**tokenizer, "added_tokens": tokens, "model": {**tokenizer["model"], "vocab": vocabulary}}


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of the sentence encoder or of a pack, with emoji, never cutting or padding."""
    raw = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    raw = add_emoji(raw) | {"post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(raw))


def first_embeddings(directory: Path) -> dict[int, list[int]]:
    """For each emoji that `directory`'s own vocabulary lacks: its token, and those whose mean it starts from."""
    own = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    tokenizer = load_tokenizer(directory)
    out: dict[int, list[int]] = {}
    for char in EMOJI:
        if char not in own:
            name = unicodedata.name(char, "symbol").lower()
            token = tokenizer.token_to_id(char)
            assert token is not None, char  # load_tokenizer has just added it
            out[token] = tokenizer.encode(name, add_special_tokens=False).ids
    return out
