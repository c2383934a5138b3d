"""Policy files: a good one is read, a bad one is refused with file, line, key and reason (invariant 9)."""

from __future__ import annotations

import pytest

from guardrail.config.policies import DEFAULT_POLICY, load_policy
from guardrail.core.verdicts import FailureStance, Kind, Role
from guardrail.errors import ConfigError
from guardrail.policy.rules import GateRules, PackRules, kind
from guardrail.policy.taxonomy import CATEGORIES, ENTITIES

GOOD = """\
version: 1
name: mine
on_failure: hold
timing:
  scoring_deadline_ms: 500
hold_back:
  max_held_chars: 400
categories:
  violence:
    on_failure: pass
    user:
      interventions: {2: annotate}
      thresholds: {2: 0.5}
    assistant:
      interventions: {2: redirect, 3: replace}
      thresholds: {2: 0.5, 3: 0.9}
      watch: 0.4
      debounce_tokens: 3
    floor: {3: redirect}
    ceiling: {3: replace}
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def refusal(written):
    def refused(text: str) -> ConfigError:
        path = written(text)
        with pytest.raises(ConfigError) as caught:
            load_policy(path)
        assert caught.value.source == str(path)
        assert str(caught.value).startswith(str(path))
        return caught.value

    return refused


def test_a_good_file_is_read_as_it_stands(written):
    policy = load_policy(written(GOOD))
    assert (policy.name, policy.mode, policy.on_failure) == ("mine", "enforce", "hold")
    assert (policy.timing.scoring_deadline_ms, policy.timing.abandon_ms) == (500, 15000)
    assert policy.hold_back.max_held_chars == 400
    violence = policy.categories["violence"]
    assert violence.assistant.thresholds == {2: 0.5, 3: 0.9}
    assert (violence.assistant.watch, violence.assistant.debounce_tokens) == (0.4, 3)
    assert (violence.floor, violence.ceiling) == ({3: "redirect"}, {3: "replace"})
    assert policy.stance(Role.USER) is FailureStance.PASS


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "reason"),
    [
        ("version: 1", "version: 2", 1, "version", "got 2"),
        ("version: 1\n", "", None, "version", "is missing"),
        ("name: mine\n", "", None, "name", "is missing"),
        ("name: mine", "name: 5", 2, "name", "got 5"),
        ("name: mine", "name: mine\nmode: enforced", 3, "mode", "got 'enforced'"),
        ("on_failure: hold", "on_failure: ignore", 3, "on_failure", "got 'ignore'"),
        ("on_failure: hold", "on_fail: hold", 3, "on_fail", "unknown key; did you mean 'on_failure'?"),
        ("scoring_deadline_ms: 500", "scoring_deadline_ms: fast", 5, "timing.scoring_deadline_ms", "got 'fast'"),
        ("scoring_deadline_ms: 500", "scoring_deadline: 1", 5, "timing.scoring_deadline", "did you mean 'scoring_deadline_ms'?"),
        ("scoring_deadline_ms: 500", "scoring_deadline_ms: 99999", 4, "timing", "scoring_deadline_ms <= abandon_ms"),
        ("max_held_chars: 400", "max_held_chars: 4.5", 7, "hold_back.max_held_chars", "got 4.5"),
        ("max_held_chars: 400", "max_held_chars: 4", 6, "hold_back", "max_held_chars >= 80"),
        ("  violence:", "  violense:", 9, "categories.violense", "did you mean 'violence'?"),
        ("    user:", "    usr:", 11, "categories.violence.usr", "did you mean 'user'?"),
        ("{2: annotate}", "{2: anotate}", 12, "categories.violence.user.interventions.2", "got 'anotate'"),
        ("{2: annotate}", "{4: annotate}", 12, "categories.violence.user.interventions.4", "got 4"),
        ("{2: annotate}", "{3: annotate}", 11, "categories.violence.user", "they must be the same"),
        ("{2: 0.5}", "{2: high}", 13, "categories.violence.user.thresholds.2", "got 'high'"),
        ("{2: 0.5}", "{2: 1.5}", 11, "categories.violence.user", "at most 1"),
        ("{2: 0.5, 3: 0.9}", "{2: 0.9, 3: 0.5}", 14, "categories.violence.assistant", "must not fall"),
        ("floor: {3: redirect}", "floor: {3: replace}\n    celing: {}", 20, "categories.violence.celing", "did you mean 'ceiling'?"),
        ("ceiling: {3: replace}", "ceiling: {3: annotate}", 9, "categories.violence", "lies below floor"),
        ("watch: 0.4", "watch: 0.4\n      watch: 0.3", 18, "categories.violence.assistant.watch", "is given twice"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_line_key_and_reason(refusal, old, new, line, key, reason):  # noqa: PLR0917 - a table
    assert GOOD.count(old) == 1
    error = refusal(GOOD.replace(old, new))
    assert (error.line, error.key) == (line, key)
    assert reason in error.reason


PACKS = """\
version: 1
name: mine
packs:
  - cheap
  - pack: dear
    gated_by: {pack: cheap, threshold: 0.2}
  - other
categories:
  violence:
    assistant: {interventions: {2: replace}}
"""


def test_a_pack_is_named_or_described(written):
    cheap, dear, other = load_policy(written(PACKS)).packs
    assert (cheap, other) == (PackRules(pack="cheap"), PackRules(pack="other"))
    assert dear == PackRules(pack="dear", gated_by=GateRules(pack="cheap", threshold=0.2))


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "reason"),
    [
        ("pack: cheap", "pack: chip", 6, "packs.1.gated_by.pack", "chip is not among packs: cheap, dear, other"),
        ("pack: cheap", "pack: dear", 6, "packs.1.gated_by.pack", "gates itself, and would never be asked: dear < dear"),
        ("- other", "- {pack: other, gated_by: {pack: nowhere, threshold: 1}}", 7, "packs.2.gated_by.pack", "nowhere is not among"),
        ("- cheap", "- {pack: cheap, gated_by: {pack: dear, threshold: 1}}", 4, "packs.0.gated_by.pack", "cheap < dear < cheap"),
        ("threshold: 0.2", "threshold: 1.2", 6, "packs.1.gated_by", "threshold must be over 0 and at most 1, got 1.2"),
        ("threshold: 0.2", "threshold: 0", 6, "packs.1.gated_by", "threshold must be over 0 and at most 1, got 0"),
        (", threshold: 0.2", "", 6, "packs.1.gated_by.threshold", "is missing"),
        ("threshold: 0.2", "threshold: 0.2, categories: violence", 6, "packs.1.gated_by.categories", "not allowed as a Sequence"),
        ("{pack: cheap, threshold: 0.2}", "cheap", 6, "packs.1.gated_by", "must be a mapping, got 'cheap'"),
        ("gated_by", "gatedby", 6, "packs.1.gatedby", "unknown key; did you mean 'gated_by'?"),
        ("- cheap", "- {pack: cheap, gates_only: 3}", 4, "packs.0.gates_only", "got 3"),
        ("- other", "- {pack: other, gates_only: true}", 7, "packs.2.gates_only", "other gates no other pack"),
        ("- other", "- cheap", 3, "packs", "must name each pack once"),
        ("- other", "- 3", 7, "packs.2", "must be a mapping, got 3"),
    ],
)  # fmt: skip
def test_a_gate_that_cannot_be_meant_is_refused(refusal, old, new, line, key, reason):  # noqa: PLR0917 - a table
    assert PACKS.count(old) == 1
    error = refusal(PACKS.replace(old, new))
    assert (error.line, error.key) == (line, key)
    assert reason in error.reason


def test_a_category_that_is_unknown_is_answered_with_those_that_are_known(refusal):
    error = refusal("version: 1\nname: x\ncategories:\n  kindness: {}\n")
    assert (error.line, error.key) == (4, "categories.kindness")
    assert all(name in error.reason for name in CATEGORIES)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just words\n", "3\n"])
def test_a_file_that_is_no_mapping_is_refused(refusal, text):
    assert "must be a mapping with version, name and categories" in refusal(text).reason


@pytest.mark.parametrize("categories", ["", "[violence]", "violence", "{}", "3"])
def test_categories_that_are_no_mapping_or_empty_are_refused(refusal, categories):
    error = refusal(f"version: 1\nname: x\ncategories: {categories}\n")
    assert error.reason
    assert "categories" in str(error)


def test_of_several_mistakes_the_first_is_named_and_the_others_counted(refusal):
    error = refusal(GOOD.replace("version: 1", "version: 7").replace("watch: 0.4", "watch: low"))
    assert error.reason.endswith("(and 1 more)")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_policy(tmp_path / "nowhere.yaml")


# -- the policy that ships -------------------------------------------------------------------------


def test_the_default_policy_loads():
    policy = load_policy()
    assert policy == load_policy(DEFAULT_POLICY)
    assert (policy.mode, policy.pack_names) == ("enforce", ("default",))


def test_the_default_policy_rules_every_category_that_is_no_entity():
    assert set(load_policy().categories) == set(CATEGORIES) - ENTITIES


@pytest.mark.parametrize("category", ["self_harm", "mental_distress"])
def test_the_default_policy_never_cuts_off_a_person_in_crisis(category):
    rules = load_policy().categories[category]
    chosen = {
        severity: rules.clamp(kind(name), severity) for severity, name in rules.user.interventions.items()
    }
    assert max(chosen.values()) is Kind.REDIRECT
    assert all(found is Kind.REDIRECT for severity, found in chosen.items() if severity >= 2)


def test_the_default_policy_does_not_raise_in_clients():
    assert load_policy().finish_reason == "stop"


def test_the_default_policy_is_not_open_where_scoring_fails():
    policy = load_policy()
    assert {policy.stance(role) for role in (Role.USER, Role.ASSISTANT)} == {FailureStance.REDIRECT}
