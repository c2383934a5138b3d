from __future__ import annotations

import hashlib
import json

import pytest

from guardrail.telemetry.redaction import OTHER, digest, identifier, sha256, word


def test_digest_is_length_and_the_beginning_of_the_hash():
    assert digest("Grüße") == {
        "chars": 5,
        "sha256": hashlib.sha256("Grüße".encode()).hexdigest()[:16],
    }


def test_digest_takes_what_a_model_can_send():
    lone_surrogate = json.loads('"\\ud83d"')

    assert digest(lone_surrogate)["chars"] == 1
    assert len(sha256(lone_surrogate)) == 64
    assert digest("")["chars"] == 0


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "team-a/prod",
        "ops@example.org",
        "self_harm/redirect#2",
        "a" * 128,
    ],
)
def test_identifiers_pass(value):
    assert identifier(value) == value


@pytest.mark.parametrize("value", ["I feel awful", "a\nb", "a" * 129, "grüß", '{"a":1}', "-x", "x\n"])
def test_anything_else_is_hashed_and_stays_distinct(value):
    assert identifier(value) == f"sha256:{sha256(value)[:16]}"
    assert identifier(value) != identifier(value + "!")


@pytest.mark.parametrize(
    "value", ["tool_calls", "chat_completions", "AT", "upstream_error", "0/content", "a.b:c-d"]
)
def test_words_pass(value):
    assert word(value) == value


@pytest.mark.parametrize("value", ["", "two words", "a" * 65, "<script>", "x\n"])
def test_anything_else_is_other(value):
    assert word(value) == OTHER
