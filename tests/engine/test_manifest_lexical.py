from __future__ import annotations

import pytest

from guardrail.core.verdicts import Role
from guardrail.engine.pack import load_pack
from guardrail.errors import PackError
from tests.engine.lexical_packs import PATTERNS, write_lexical_pack


def test_a_pack_is_read_as_its_files_say(tmp_path):
    pack = load_pack(write_lexical_pack(tmp_path / "mine"))

    assert (pack.name, pack.family, pack.version) == ("mine", "lexical", "1")
    assert pack.categories == ("payment_card", "secret_credential")
    assert pack.judged == {Role.USER, Role.ASSISTANT}
    assert pack.operating_points[Role.USER]["payment_card"] == {1: 0.5, 2: 0.7, 3: 0.9}
    assert [(p.name, p.category, p.score, p.longest) for p in pack.patterns] == [
        ("card", "payment_card", 1.0, 19),
        ("pin", "secret_credential", 0.8, 11),
        ("project", "secret_credential", 1.0, 12),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"patterns": ...}, "patterns: Field required"),
        ({"patterns": {"file": "patterns.yaml", "sha256": "0" * 64}}, "patterns.yaml: checksum is"),
        ({"roles": {"user": True}}, "roles: no entry for 'system'"),
        ({"roles": dict.fromkeys(("user", "assistant", "system"), False)}, "roles: none of them is judged"),
        ({"categories": ["payment_card"]}, "'secret_credential' is found by a pattern but not listed"),
        (
            {"categories": ["payment_card", "secret_credential", "drugs"]},
            "categories: 'drugs' is found by no pattern",
        ),
        ({"categories": ["payment_card"] * 2}, "categories: a name stands twice"),
        ({"operating_points": {}}, "operating_points.user: no entry for 'payment_card'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, reason):
    with pytest.raises(PackError) as caught:
        load_pack(write_lexical_pack(tmp_path / "mine", **changes))
    assert reason in str(caught.value)


def test_a_bad_pattern_is_named_by_pack_file_and_key(tmp_path):
    bad = {**PATTERNS[0], "match": "(unclosed"}
    with pytest.raises(PackError) as caught:
        load_pack(write_lexical_pack(tmp_path / "mine", [PATTERNS[2], bad]))
    assert f"pack {tmp_path / 'mine'}: patterns.yaml: patterns.1 (card): match: is no regular" in str(
        caught.value
    )
