"""How a decoder is shown the turns of a conversation, in the tokens of its own vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from tokenizers import Tokenizer

from classifiers.convert.errors import ConversionError
from guardrail.core.verdicts import Role

KNOWN = Path(__file__).parent / "data" / "turns.yaml"
PLAIN = "plain"
"""Turns one after the other, nothing between them, for a model that was never shown roles."""


class TurnFormat(BaseModel):
    """What stands around the turns of one role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    opens: str = ""
    closes: str = ""
    judged_at: Literal["tokens", "end"] = "tokens"


class Turns(BaseModel):
    """A way to write turns; the keys are explained in ``data/turns.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs: list[str] = []
    start: str | None = None
    system: TurnFormat = TurnFormat()
    user: TurnFormat = TurnFormat()
    assistant: TurnFormat = TurnFormat()


def turns_for(tokenizer: Tokenizer, given: str | Mapping[str, Any] | None) -> tuple[str, Turns]:
    """The way to write turns, and its name.

    Args:
        tokenizer: the model's.
        given: the name of a known way, its keys, or None for the first known one that fits.

    Raises:
        ConversionError: there is none of that name, or the tokenizer lacks what it needs.
    """
    known = {name: Turns.model_validate(entry) for name, entry in _known().items()}
    known[PLAIN] = Turns(start=_start(tokenizer))
    if isinstance(given, Mapping):
        try:
            return "its own", Turns.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ConversionError(f"turns.{key}: {first['msg']}") from error
    if given is None:
        return next((name, turns) for name, turns in known.items() if not _lacking(tokenizer, turns))
    if given not in known:
        raise ConversionError(f"no way to write turns called {given!r}; known are: {', '.join(known)}")
    if lacking := _lacking(tokenizer, known[given]):
        raise ConversionError(f"turns {given!r}: the tokenizer has no token {lacking[0]!r}")
    return given, known[given]


def role_entries(tokenizer: Tokenizer, turns: Turns, heads: Mapping[Role, int]) -> dict[str, Any]:
    """The manifest's ``roles``.

    Args:
        tokenizer: the model's.
        turns: how turns are written.
        heads: the head of each role that is judged.
    """
    formats = {Role.SYSTEM: turns.system, Role.USER: turns.user, Role.ASSISTANT: turns.assistant}
    entries: dict[str, Any] = {}
    for role, each in formats.items():
        entry: dict[str, Any] = {"marker": _tokens(tokenizer, each.opens), "head": heads.get(role)}
        if each.closes:
            entry["end"] = _tokens(tokenizer, each.closes)
        if each.judged_at == "end" and role in heads:
            entry["judged_at"] = "end"
        entries[role.value] = entry
    return entries


def tokenization(tokenizer: Tokenizer) -> Literal["words", "runs"]:
    """How the engine has to read text for this tokenizer.

    Raises:
        ConversionError: it cannot.
    """
    if type(tokenizer.model).__name__ == "WordPiece":
        return "words"
    if type(tokenizer.model).__name__ == "BPE" and "ByteLevel" in str(tokenizer.pre_tokenizer):
        return "runs"
    raise ConversionError(
        f"tokenizer.json: a {type(tokenizer.model).__name__} that is not byte-level cannot be given a text in pieces; "
        "Byte-level BPE (Llama 3, Qwen) and WordPiece (BERT) can"
    )


def _known() -> Mapping[str, Any]:
    known: Mapping[str, Any] = yaml.safe_load(KNOWN.read_text(encoding="utf-8"))
    return known


def _lacking(tokenizer: Tokenizer, turns: Turns) -> list[str]:
    return [token for token in turns.needs if tokenizer.token_to_id(token) is None]


def _start(tokenizer: Tokenizer) -> str | None:
    """The one token that the tokenizer itself puts before a text."""
    probe = tokenizer.encode("a")
    before = [
        token for token, special in zip(probe.tokens, probe.special_tokens_mask, strict=True) if special
    ]
    return str(before[0]) if before and probe.special_tokens_mask[0] else None


def _tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return list(tokenizer.encode(text, add_special_tokens=False).tokens)
