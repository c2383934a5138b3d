"""Texts with an entity, and texts that only look like it: made up from a seed, none of them anybody's.

An entity is right if its checksum or number plan says so; a look-alike is the same with a wrong digit, or another
thing of the same shape: an order number, a commit, a version, a placeholder, a crisis line.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stdnum import luhn
from stdnum.iso7064 import mod_97_10

SEED = 14
_ALNUM = string.ascii_letters + string.digits
_FRAMES = (
    "{}",
    "It is {}, as you asked.",
    "Please use {} from now on.",
    "Here you go: {}. Anything else?",
    "- first\n- {}\n- last",
    "He said ({}) and left.",
    "`{}`",
    "| name | {} | 2024 |",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A text and what is to be found in it."""

    category: str
    text: str
    entity: str
    """Exactly this is to be found; empty: nothing of the category."""


def cases(count: int, seed: int = SEED) -> Iterator[Case]:
    """``count`` cases of each kind, in an order that does not change."""
    lots = random.Random(seed)
    for category, makers in (*_ENTITIES.items(), *_LOOKALIKES.items()):
        real = category in _ENTITIES
        for maker in makers:
            for _ in range(count):
                thing = maker(lots)
                before, _, entity = thing.rpartition("\0")  # a name in front of a secret is no part of it
                text = lots.choice(_FRAMES).format(before + entity)
                yield Case(category.removesuffix("?"), text, entity if real else "")


def _signs(lots: random.Random, alphabet: str, count: int) -> str:
    return "".join(lots.choices(alphabet, k=count))


def _key(prefix: str, count: int, alphabet: str = _ALNUM) -> Callable[[random.Random], str]:
    return lambda lots: prefix + _signs(lots, alphabet, count)


def _card(lots: random.Random) -> str:
    number = lots.choice(["4", "51", "55", "6011", "2221"])
    number += _signs(lots, string.digits, 15 - len(number))
    number += luhn.calc_check_digit(number)
    joint = lots.choice(["", " ", "-"])
    return joint.join(number[at : at + 4] for at in range(0, 16, 4))


def _wrong_card(lots: random.Random) -> str:
    card = _card(lots)
    return card[:-1] + str((int(card[-1]) + lots.randint(1, 9)) % 10)


def _iban(lots: random.Random) -> str:
    country, length = lots.choice([("DE", 18), ("NL", 10), ("AT", 16), ("CH", 17), ("PL", 24), ("LU", 16)])
    if country == "NL":
        body = "ABNA" + _signs(lots, string.digits, length)
    elif country == "PL":  # the bank's code has a check digit of its own
        digits = _signs(lots, string.digits, 7)
        weights = zip((3, 9, 7, 1, 3, 9, 7), digits, strict=True)
        body = f"{digits}{-sum(w * int(d) for w, d in weights) % 10}" + _signs(lots, string.digits, 16)
    else:
        body = _signs(lots, string.digits, length)
    iban = country + mod_97_10.calc_check_digits(body + country) + body
    return " ".join(iban[at : at + 4] for at in range(0, len(iban), 4)) if lots.random() < 0.5 else iban


def _wrong_iban(lots: random.Random) -> str:
    iban = _iban(lots)
    return iban[:3] + str((int(iban[3]) + lots.randint(1, 9)) % 10) + iban[4:]


def _ssn(lots: random.Random) -> str:
    return f"{lots.randint(100, 665)}-{lots.randint(10, 99)}-{lots.randint(1000, 9999)}"


def _mail(lots: random.Random) -> str:
    name = lots.choice(["jo", "maria.lopez", "k_9", "ann+lists", "x1"])
    return f"{name}{lots.randint(1, 99)}@{lots.choice(['mail.example.org', 'acme-corp.com', 'uni.ac.uk', 'b.io'])}"


def _phone(lots: random.Random) -> str:
    area, exchange, line = (
        lots.choice(["415", "212", "312"]),
        lots.randint(220, 989),
        lots.randint(1000, 9999),
    )
    shapes = ("({}) {}-{}", "{}-{}-{}", "+1 {} {} {}", "+1-{}-{}-{}")
    return lots.choice(shapes).format(area, exchange, line)


def _jwt(lots: random.Random) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": str(lots.randint(1, 10**9)), "name": "J. Doe"}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{_signs(lots, _ALNUM, 43)}"


def _private_key(lots: random.Random) -> str:
    lines = [_signs(lots, _ALNUM + "+/", 64) for _ in range(lots.randint(3, 25))] + [_signs(lots, _ALNUM, 20)]
    label = lots.choice(["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY"])
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"])


def _assigned(lots: random.Random) -> str:
    name = lots.choice(['password: "', "API_KEY=", "the password is ", "secret_token: ", "db_passwd = '"])
    secret = lots.choice(string.ascii_letters) + _signs(lots, _ALNUM + "_!", 12) + str(lots.randint(10, 99))
    return f"{name}\0{secret}"


def _of(*texts: str) -> Callable[[random.Random], str]:
    return lambda lots: lots.choice(texts)


_BASE32 = string.ascii_uppercase + "234567"
_HEX = "0123456789abcdef"
_ENTITIES: dict[str, tuple[Callable[[random.Random], str], ...]] = {
    "secret_credential": (
        _key("AKI" + "A", 16, _BASE32),
        _key("ghp_", 36),
        _key("xoxb-", 40),
        _key("sk_live_", 24),
        _key("sk-proj-", 48),
        _key("AIza", 35),
        _key("hf_", 34),
        _key("glpat-", 20),
        _jwt,
        _private_key,
        _assigned,
    ),
    "payment_card": (_card,),
    "bank_account": (_iban,),
    "national_id": (_ssn,),
    "contact_data": (_mail, _phone),
}
_LOOKALIKES: dict[str, tuple[Callable[[random.Random], str], ...]] = {
    "secret_credential?": (
        _key("", 40, _HEX),  # a commit
        _key("sk-", 12),
        _key("AKI" + "A", 9, _BASE32),
        _of("password: ********", "set API_KEY to your key", "the token is required", "secret: changeme"),
        _of("api_key=os.environ['KEY']", "password = getpass.getpass()", "token: <your token here>"),
        _of("it opens with -----BEGIN " + "PRIVATE KEY----- and ends", "sk_live_ is the prefix of live keys"),
        lambda lots: (
            f"{_signs(lots, _HEX, 8)}-{_signs(lots, _HEX, 4)}-4{_signs(lots, _HEX, 3)}-a{_signs(lots, _HEX, 15)}"
        ),
    ),
    "payment_card?": (_wrong_card, _key("order 4", 14, string.digits), _key("9", 15, string.digits)),
    "bank_account?": (_wrong_iban, _key("DE", 12, string.digits)),
    "national_id?": (
        lambda lots: (
            f"{lots.choice(['000', '666', '912'])}-{lots.randint(10, 99)}-{lots.randint(1000, 9999)}"
        ),
        lambda lots: f"{lots.randint(2000, 2030)}-{lots.randint(10, 12)}-{lots.randint(10, 28)}",
        lambda lots: f"part {lots.randint(100, 999)}-{lots.randint(100, 999)}-{lots.randint(1000, 9999)}",
    ),
    "contact_data?": (
        _of("icon@2x.png", "git@github.com:a/b.git", "@someone", "user@localhost", "pkg@1.2.3", "a @ b.com"),
        _of("call 988", "text HOME to 741741", "Samaritans: 116 123", "1-800-273-8255", "+1 800 273 8255"),
        _of("10.1.2.3", "2024-11-24 14:06:40", "3.14159265", "ISBN 978-3-16-148410-0", "1,234,567.89"),
    ),
}
