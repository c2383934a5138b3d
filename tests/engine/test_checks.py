from __future__ import annotations

import pytest

from guardrail.engine.checks import check_named, entropy


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("stdnum.luhn", "4111 1111-11111111", "4111111111111112"),
        ("stdnum.iban", "DE89 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        ("stdnum.us.ssn", "536-90-4399", "000-90-4399"),
        ("phone", "+49 30 901820", "030 901820"),
        ("phone.DE", "030 901820", "12"),
    ],
)
def test_a_check_accepts_the_thing_and_rejects_what_looks_like_it(name, right, wrong):
    check = check_named(name, None)
    assert (check(right), check(wrong)) == (True, False)


@pytest.mark.parametrize("number", ["+1 800 273 8255", "+44 800 1111"])
def test_a_number_that_is_free_to_call_is_nobodys(number):
    """Crisis lines above all: to take one out of an answer would be the worst of false findings."""
    assert not check_named("phone", None)(number)


def test_a_text_can_be_asked_to_be_random_as_well():
    check = check_named("stdnum.luhn", 2.0)
    assert check("4539148803436467")
    assert not check("0000000000000000")


def test_no_check_accepts_everything():
    assert check_named(None, None) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("luhn", "is none: stdnum.MODULE, phone or phone.REGION"),
        ("stdnum.nosuch", "python-stdnum has no such number"),
        ("stdnum.util", "python-stdnum has no such number"),
        ("phone.XX", "phonenumbers knows no region XX"),
    ],
)
def test_an_unknown_check_is_named(name, reason):
    with pytest.raises(ValueError, match=reason):
        check_named(name, None)


def test_entropy_is_bits_a_sign():
    assert [entropy(text) for text in ("", "aaaa", "abab", "abcd")] == [0, 0, 1, 2]
