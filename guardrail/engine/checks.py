"""By what a text that looks like an entity is told from one: checksums, number plans, randomness.

Checksums come from ``python-stdnum``, number plans from ``phonenumbers``; nothing of either is repeated here.
"""

from __future__ import annotations

import importlib
import math
import re
from collections import Counter
from collections.abc import Callable

import phonenumbers

Check = Callable[[str], bool]
"""Whether a matched text is what its pattern looks for."""

_STDNUM = re.compile(r"stdnum((?:\.[a-z][a-z0-9_]*){1,2})")
_PHONE = re.compile(r"phone(?:\.([A-Z]{2}))?")
_PERSONAL = frozenset(
    {
        phonenumbers.PhoneNumberType.FIXED_LINE,
        phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE,
        phonenumbers.PhoneNumberType.MOBILE,
        phonenumbers.PhoneNumberType.PERSONAL_NUMBER,
        phonenumbers.PhoneNumberType.VOIP,
    }
)
"""Numbers people have; those that anybody may call free of charge, crisis lines among them, are public."""
_JOINTS = str.maketrans("", "", " -")


def check_named(name: str | None, min_entropy: float | None) -> Check | None:
    """The check of that name, and of randomness.

    Args:
        name: ``stdnum.MODULE``, any number that python-stdnum knows, by its checksum (``stdnum.luhn``,
            ``stdnum.us.ssn``); ``phone``, a person's number in international form; ``phone.XX``, in that region's. None: no check.
        min_entropy: bits a code point that a text must have; None: any.

    Raises:
        ValueError: there is no such check.
    """
    checks: list[Check] = []
    if name is not None:
        checks.append(_named(name))
    if min_entropy is not None:
        checks.append(lambda text: entropy(text) >= min_entropy)
    if not checks:
        return None
    return lambda text: all(check(text) for check in checks)


def entropy(text: str) -> float:
    """Shannon's entropy of how often each code point occurs, in bits a code point; 0 for an empty text."""
    counts = Counter(text)
    return sum(-n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _named(name: str) -> Check:
    if found := _STDNUM.fullmatch(name):
        return _stdnum(name, found[1])
    if found := _PHONE.fullmatch(name):
        return _phone(name, found[1])
    raise ValueError(f"{name!r} is none: stdnum.MODULE, phone or phone.REGION")


def _stdnum(name: str, module: str) -> Check:
    try:
        is_valid = importlib.import_module(f"stdnum{module}").is_valid
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name!r}: python-stdnum has no such number") from error
    return lambda text: bool(is_valid(text.translate(_JOINTS)))


def _phone(name: str, region: str | None) -> Check:
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"{name!r}: phonenumbers knows no region {region}")

    def is_valid(text: str) -> bool:
        try:
            return phonenumbers.number_type(phonenumbers.parse(text, region)) in _PERSONAL
        except phonenumbers.NumberParseException:
            return False

    return is_valid
