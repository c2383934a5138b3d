"""The patterns of a lexical pack: read from their file, checked, compiled.

A pattern is a regular expression of the ``regex`` package (version 1 syntax), or a list of words, with the
category and score of what it finds, the length of its longest form, and a check by which look-alikes are told
apart. What can be wrong with one is found here, as a ``PackError`` naming file, key and reason.

``regex`` backtracks, so an expression can take time without end on a short text. Such a one is refused where a
trial shows it; one that gets by fails where it is used, on time (``lexicon.TIMEOUT_S``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardrail.core.segments import is_wide
from guardrail.engine.checks import Check, check_named
from guardrail.errors import ConfigError, PackError
from guardrail.yaml_source import read_yaml

MOST_CODE_POINTS = 4096
"""Longest form a pattern may have: what is held back while one grows is bounded by it."""

_FLAGS = regex.VERSION1
_WHOLE = r"(?<!\w)(?:{})(?!\w)"
_TRIAL_S = 0.1
_TRIAL_CODE_POINTS = 96  # what doubles with every sign has shown itself by then
_TRIAL_SIGNS = "a0 A1.-_@=/"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A checked pattern."""

    name: str
    category: str
    score: float
    """Risk score of what it finds, over 0 and at most 1."""
    longest: int
    """Longer matches are none, code points."""
    source: str
    """The whole expression, its boundaries included."""
    words: Mapping[str, Sequence[str]]
    """The list that ``source`` refers to, by its name, if it is one of words."""
    check: Check | None
    """Says which matches count; None: all of them."""


class _Entry(BaseModel):
    """A pattern as written."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    category: Annotated[str, Field(min_length=1)]
    score: Annotated[float, Field(gt=0, le=1)] = 1.0
    match: str | None = None
    words: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    longest: Annotated[int, Field(gt=0, le=MOST_CODE_POINTS)] | None = None
    whole: bool = True
    check: str | None = None
    min_entropy: Annotated[float, Field(gt=0, le=8)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    patterns: Annotated[list[_Entry], Field(min_length=1)]


def compiled(pattern: Pattern) -> regex.Pattern[str]:
    """The expression itself."""
    return regex.compile(pattern.source, _FLAGS, **pattern.words)


def compiled_growing(pattern: Pattern) -> regex.Pattern[str]:
    """Never matches whole. Searched with ``partial=True``, it finds where more text could change a match.

    Whatever is tried fails in the end, so the search reports the first place from which it ran into the end of
    the text: there a match could begin, or go on.
    """
    return regex.compile(f"(?:{pattern.source})(?!)", _FLAGS, **pattern.words)


def read_patterns(directory: Path, path: Path) -> list[Pattern]:
    """The patterns of a file, in its order.

    Raises:
        PackError: the file is not one of patterns, or one of them cannot be used.
    """
    where = f"{directory}: {path.name}"
    try:
        data = read_yaml(path).data
    except ConfigError as error:
        raise PackError(str(directory), str(error)) from error
    try:
        entries = _File.model_validate(data).patterns
    except ValidationError as error:
        first = error.errors()[0]
        raise PackError(where, f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}") from error
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise PackError(where, "patterns: two have the same name")
    patterns: list[Pattern] = []
    for number, entry in enumerate(entries):
        try:
            patterns.append(_pattern(entry))
        except _UnusableError as error:
            raise PackError(
                where, f"patterns.{number} ({entry.name}): {error.key}: {error.reason}"
            ) from error
    return patterns


class _UnusableError(Exception):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key, self.reason = key, reason


def _pattern(entry: _Entry) -> Pattern:
    key = "match" if entry.match is not None else "words"
    words: dict[str, Sequence[str]] = {}
    if entry.words is not None:
        if entry.match is not None:
            raise _UnusableError("match", "goes without words: a pattern is one or the other")
        words["words"] = [" ".join(word.split()) for word in entry.words]
        source, longest = r"(?i:\L<words>)", max(map(len, words["words"]))
        if entry.longest is not None:
            raise _UnusableError("longest", "is that of the longest word; leave it out")
        written = "".join(entry.words)
    elif entry.match is not None:
        if entry.longest is None:
            raise _UnusableError("longest", "is missing: how many code points can such a text have?")
        source, longest, written = entry.match, entry.longest, entry.match
    else:
        raise _UnusableError("match", "is missing, and so is words")
    # Where a word of the core ends in front of such a sign, a pattern would need to know what sign it is.
    if any(is_wide(char) for char in written):
        raise _UnusableError(key, "Han characters, CJK punctuation and full-width signs cannot be matched")
    _check_alone(source, words, key)
    if entry.whole:
        source = _WHOLE.format(source)
    try:
        check = check_named(entry.check, entry.min_entropy)
    except ValueError as error:
        raise _UnusableError("check", str(error)) from error
    pattern = Pattern(entry.name, entry.category, entry.score, longest, source, words, check)
    _try_out(pattern, written, key)
    return pattern


def _check_alone(source: str, words: Mapping[str, Sequence[str]], key: str) -> None:
    try:
        alone = regex.compile(source, _FLAGS, **words)
    except (regex.error, ValueError, RecursionError) as error:
        raise _UnusableError(key, f"is no regular expression: {error}") from error
    if alone.groups:
        raise _UnusableError(key, "has a group that captures: write (?:...)")
    if alone.fullmatch(""):
        raise _UnusableError(key, "matches nothing at all: an empty text must not fit")


def _try_out(pattern: Pattern, written: str, key: str) -> None:
    """Refuse an expression that takes long on a short text.

    Texts are written sign by sign, each sign one that the pattern lets grow, the last one again if it may be:
    where what is repeated is repeated, the ways to read such a text double with every sign.
    """
    growing = compiled_growing(pattern)
    signs = dict.fromkeys([*_TRIAL_SIGNS, *written[:_TRIAL_CODE_POINTS]])
    for first in _TRIAL_SIGNS[:3]:
        text, favoured = "", first
        while len(text) < _TRIAL_CODE_POINTS:
            try:
                favoured = next(
                    sign
                    for sign in (favoured, *signs)
                    if growing.match(text + sign, partial=True, timeout=_TRIAL_S)
                )
            except StopIteration:
                break
            except TimeoutError:
                reason = f"takes more than {_TRIAL_S} s on {text + favoured!r}: do not repeat what is itself repeated"
                raise _UnusableError(key, reason) from None
            text += favoured
