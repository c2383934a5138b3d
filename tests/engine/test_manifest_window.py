from __future__ import annotations

import pytest

from guardrail.core.verdicts import Role
from guardrail.engine.manifest_window import WindowRole
from guardrail.engine.pack import load_pack
from guardrail.errors import PackError

ROLES = {
    "user": {"judged_at": "sentences"},
    "assistant": {"judged_at": "words"},
    "system": {"judged_at": "never"},
}


def roles(**changes):
    return {"roles": {**ROLES, **changes}}


def test_a_pack_is_read_as_its_manifest_says(window_pack):
    pack = window_pack

    assert (pack.name, pack.version, pack.family) == ("toy-window", "1", "window")
    assert pack.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert (pack.activation, pack.labels) == ("sigmoid", ("fine", "insult", "threat"))
    assert pack.categories == ("hate_harassment", "violence")
    assert pack.feeds == {"hate_harassment": ("insult",), "violence": ("threat", "insult")}
    assert (pack.max_tokens, pack.stride) == (24, 4)
    assert pack.judged == {Role.USER, Role.ASSISTANT}
    assert pack.roles == {
        Role.USER: WindowRole("sentences", 0),
        Role.ASSISTANT: WindowRole("words", 6),
        Role.SYSTEM: WindowRole("never", 0),
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": ["input_ids"]}, "inputs: attention_mask is missing"),
        ({"inputs": ["input_ids", "attention_mask", "pixels"]}, "inputs.2: Input should be"),
        ({"inputs": ["input_ids", "attention_mask", "input_ids"]}, "inputs: a name stands twice"),
        ({"activation": "relu"}, "activation: Input should be"),
        ({"activation": ...}, "activation: Field required"),
        ({"labels": ["fine", "insult", "insult", "threat"]}, "labels: a name stands twice"),
        ({"categories": {}}, "categories: "),
        ({"categories": {"violence": []}}, "categories.violence: "),
        ({"categories": {"violence": ["thread"]}}, "categories.violence: 'thread' is none of the labels"),
        ({"categories": {"violence": ["threat", "threat"]}}, "categories.violence: a label stands twice"),
        (
            {"activation": "softmax", "categories": {"violence": ["fine", "insult", "threat"]}},
            "categories.violence: with softmax, all labels together are certain",
        ),
        ({"max_tokens": 8}, "max_tokens: "),
        ({"stride": 0}, "stride: "),
        ({"stride": 13}, "stride: must be at most half of what max_tokens leaves to the user"),
        ({"stride": 10}, "stride: must be at most half of what max_tokens leaves to the assistant"),
        ({"roles": {"user": {"judged_at": "words"}}}, "roles: no entry for 'system'"),
        (roles(user={"judged_at": "tokens"}), "roles.user.judged_at: Input should be"),
        (roles(user={"judged_at": "words", "contexts": 3}), "roles.user.contexts: Extra inputs"),
        (
            roles(assistant={"judged_at": "sentences"}),
            "roles.assistant.judged_at: only the user's turns can be judged by sentence",
        ),
        (
            roles(assistant={"judged_at": "words", "context": "user_turn"}),
            "roles.assistant.context_tokens: goes with context: user_turn",
        ),
        (
            roles(assistant={"judged_at": "words", "context_tokens": 4}),
            "roles.assistant.context_tokens: goes with context: user_turn",
        ),
        (
            {"roles": {role: {"judged_at": "never"} for role in ROLES}},
            "roles: none of them is judged",
        ),
        ({"calibration": {}}, "calibration.user: no entry for 'hate_harassment'"),
        ({"operating_points": {"user": {}}}, "operating_points.user: no entry for 'hate_harassment'"),
        ({"model": {"file": "model.onnx", "sha256": "0" * 64, "opset": 17}}, "model.onnx: checksum is"),
    ],
)
def test_what_is_wrong_is_named(changes, reason, write_window_pack, tmp_path):
    directory = write_window_pack(tmp_path / "toy", **changes)

    with pytest.raises(PackError) as caught:
        load_pack(directory)

    assert str(directory) in str(caught.value)
    assert reason in str(caught.value)


def test_tables_of_a_role_that_is_not_judged_are_not_asked_for(write_window_pack, tmp_path):
    line, points = {"scale": 1.0, "offset": 0.0}, {1: 0.3, 2: 0.5, 3: 0.8}
    names = ("hate_harassment", "violence")
    pack = load_pack(
        write_window_pack(
            tmp_path / "toy",
            **roles(assistant={"judged_at": "never"}),
            calibration={"user": dict.fromkeys(names, line)},
            operating_points={"user": dict.fromkeys(names, points)},
        )
    )

    assert pack.judged == {Role.USER}
