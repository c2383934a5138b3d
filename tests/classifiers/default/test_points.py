"""Operating points disturb no more benign turns than they may, and find what they can."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.default import points as chosen_by
from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.labels import INDEX
from classifiers.default.points import (
    BUDGET,
    HELPING,
    LOWEST,
    OWN_INSERTS,
    Turns,
    benign,
    choose_points,
    logit,
)
from tests.classifiers.default.made_up_scores import SURE, item, made_up

IDENTITY = {r: {c: {"scale": 1.0, "offset": 0.0} for c in CATEGORIES} for r in ROLES}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("score", [0.15, 0.5, 0.999])
def test_logit_is_the_inverse(score):
    assert sigmoid(np.array(logit(score))) == pytest.approx(score)


# -- benign turns ------------------------------------------------------------------------------------------

TURNS = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=60
)


@given(TURNS, st.sampled_from([0, 0.01, 0.05, 0.2, 0.5, 1]), st.floats(-5, 5))
def test_a_point_finds_at_most_its_share_of_what_is_not_found_yet(turns, share, earlier):
    table = Turns.of([item(src=src, violence=one, drugs=two) for src, one, two in turns])
    assert table.weight.sum() == pytest.approx(1)
    table.found |= table.newly(INDEX["drugs"], earlier)
    before = table.share_found
    point = table.lowest(INDEX["violence"], share)
    table.found |= table.newly(INDEX["violence"], point)
    assert table.share_found - before <= share + 1e-9


@given(TURNS, st.sampled_from([0, 0.05, 0.2, 0.5]))
def test_no_lower_point_would_do(turns, share):
    table = Turns.of([item(src=src, violence=one) for src, one, _ in turns])
    table.found |= table.newly(
        INDEX["violence"], table.lowest(INDEX["violence"], share) - 2 * chosen_by.MARGIN
    )
    assert table.share_found > share - 1e-9 or table.found.all()


def test_a_source_weighs_as_the_root_of_its_size():
    turns = [item(src="large", violence=-n) for n in range(81)] + [
        item(src="small", violence=n) for n in range(9)
    ]
    table = Turns.of(turns)
    assert table.weight[-9:].sum() == pytest.approx(3 / 12)
    # Of 90 turns 9 would be a tenth; three of the small source's nine are nearly one already.
    point = table.lowest(INDEX["violence"], 0.1)
    table.found |= table.newly(INDEX["violence"], point)
    assert table.found.sum() == 3


def test_with_a_share_of_everything_there_is_no_lowest_point():
    assert Turns.of([item(), item()]).lowest(0, 1.1) == -np.inf
    assert Turns.of([]).lowest(0, 0.1) == -np.inf


def test_ordinary_and_hard_turns_are_told_apart():
    wanted = {
        "ordinary": item(group="ordinary"),
        "constructive": item(group="constructive"),
        "lookalike": item(group="lookalike"),
        "foreign": item(group="foreign", lang="ko"),
        "generated": item(group="generated"),
    }
    others = [
        item(group="dev"),
        item(group="ordinary", harm=1),
        item(group="ordinary", harm=None),
        item(group="lookalike", labels={"mental_distress": 1}),
        item("assistant", group="ordinary"),
    ]
    turns = [*wanted.values(), *others]
    assert benign(turns, "user", hard=False) == [wanted["ordinary"]]
    assert benign(turns, "user", hard=True) == [
        wanted[n] for n in ("constructive", "lookalike", "foreign", "generated")
    ]


def test_a_large_hard_source_is_capped(monkeypatch):
    monkeypatch.setattr(chosen_by, "HARD_ROWS_A_SOURCE", 3)
    turns = [item(group="lookalike", src=src) for src in "aaaaab"]
    assert [one.case.row["src"] for one in benign(turns, "user", hard=True)] == list("aaab")


# -- points ------------------------------------------------------------------------------------------------


def heads_of(scale, offset):
    return {r: {c: {"scale": scale, "offset": offset} for c in CATEGORIES} for r in ROLES}


def reached(turns, role, points, heads, *, level, names):
    """Which turns get a finding of the level or above."""
    found = np.zeros(len(turns), bool)
    for name in names:
        if points[role][name] is not None:
            line = heads[role][name]
            judged = np.array([one.judged[INDEX[name]] for one in turns], dtype=np.float64)
            found |= sigmoid(line["scale"] * judged + line["offset"]) >= points[role][name][level]
    return found


@pytest.mark.parametrize(("seed", "scale", "offset"), [(1, 1.0, 0.0), (2, 0.4, -1.0), (2, 2.5, 1.0)])
def test_no_more_benign_turns_are_found_than_the_budget_allows(seed, scale, offset):
    turns, heads = made_up(seed, scale), heads_of(scale, offset)
    points = choose_points(turns, heads)
    spent = []
    for role in ROLES:
        for hard in (False, True):
            members = benign(turns, role, hard=hard)
            weight = Turns.of(members).weight
            for level in (1, 2, 3):
                helping = HELPING if role == "user" else {}
                rest = [name for name in CATEGORIES if name not in helping]
                budget = BUDGET[role][level][hard]
                share = weight[reached(members, role, points, heads, level=level, names=rest)].sum()
                assert share <= budget + 1e-9, (role, level, hard)
                spent.append(share / budget)
                for name, budgets in helping.items():
                    share = weight[reached(members, role, points, heads, level=level, names=[name])].sum()
                    assert share <= budgets[level][hard] + 1e-9, (name, level, hard)
    # Not by finding nothing at all.
    assert max(spent) > 0.5


@pytest.mark.parametrize(("seed", "scale", "offset"), [(1, 1.0, 0.0), (2, 0.4, -1.0), (2, 2.5, 1.0)])
def test_our_own_words_are_never_found(seed, scale, offset):
    turns, heads = made_up(seed, scale), heads_of(scale, offset)
    # Hotter than all, and so few that the budget for hard turns would let them through.
    turns[-1].logits[:] = 6 / scale
    points = choose_points(turns, heads)
    own = [one for one in turns if one.case.row["src"] in OWN_INSERTS]
    for level in (2, 3):
        assert not reached(own, "assistant", points, heads, level=level, names=CATEGORIES).any()


def test_an_answers_point_keeps_its_distance_from_ordinary_ones(monkeypatch):
    """A harmful answer that is hardly hotter than an ordinary one is let go; a user's turn is not."""

    def lowest_found(role):
        turns = [item(role, group="ordinary", violence=0.0) for _ in range(300)]
        heats = np.linspace(0.1, 4, 40)
        turns += [item(role, labels={"violence": 2}, harm=1, violence=heat) for heat in heats]
        point = logit(choose_points(turns, IDENTITY)[role]["violence"][2])
        return min(heat for heat in heats if heat >= point)

    assert lowest_found("assistant") > chosen_by.GUARD["assistant"]
    monkeypatch.setitem(chosen_by.GUARD, "assistant", 0.0)
    assert lowest_found("assistant") < 0.3
    assert lowest_found("user") < 0.3


def test_our_own_words_are_kept_at_a_distance():
    turns = [item("assistant", group="generated", src=min(OWN_INSERTS), violence=2.0)]
    turns += [item("assistant", labels={"violence": 2}, harm=1, violence=heat) for heat in (2.2, 3.0)]
    point = logit(choose_points(turns, IDENTITY)["assistant"]["violence"][2])

    assert point >= 2.0 + chosen_by.INSERT_GUARD - 1e-4


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.4, -1.0)])
def test_points_ascend_and_are_never_very_low(scale, offset):
    points = choose_points(made_up(3, scale), heads_of(scale, offset))
    chosen = [levels for heads in points.values() for levels in heads.values() if levels]
    assert len(chosen) > 20
    for levels in chosen:
        assert list(levels) == [1, 2, 3]
        assert levels[1] <= levels[2] <= levels[3] <= 1
        assert all(levels[level] >= LOWEST[level] - 1e-4 for level in levels)


def test_where_benign_turns_are_clean_all_harmful_ones_are_found_and_no_point_is_very_low():
    turns = [
        item(role, group=group) for role in ROLES for group in ("ordinary", "lookalike") for _ in range(50)
    ]
    turns += [item(role, labels={"drugs": 2}, harm=1, drugs=heat) for role in ROLES for heat in (3, 1, -SURE)]
    points = choose_points(turns, IDENTITY)
    for role in ROLES:
        # The coldest of the three is below what is allowed; the next one just above the point.
        assert 0.7 < points[role]["drugs"][2] < sigmoid(1)
        assert points[role]["drugs"][2] > LOWEST[2]


def test_the_budget_goes_to_the_head_that_can_use_it():
    """A head that tells its harm apart costs nothing; one that does not gets no more than is left."""
    turns = made_up(1)
    for one in turns:
        right = one.case.row["labels"].get("cyber")
        one.logits[:, INDEX["cyber"]] = 4 if right else -4
    points = choose_points(turns, IDENTITY)
    for role in ROLES:
        own = [t for t in turns if t.case.role == role and t.case.row["labels"].get("cyber")]
        assert reached(own, role, points, IDENTITY, level=2, names=["cyber", "any_harm"]).all()
    useless = made_up(2)
    for one in useless:
        one.logits[:, INDEX["any_harm"]] = 3
    points = choose_points(useless, IDENTITY)
    assert not reached(useless, "user", points, IDENTITY, level=2, names=["any_harm"]).any()


def test_a_head_without_harmful_turns_gets_a_point_that_finds_no_more_benign_ones():
    turns = [one for one in made_up(1) if not one.case.row["labels"].get("cyber")]
    points = choose_points(turns, IDENTITY)
    for role in ROLES:
        others = [name for name in CATEGORIES if name != "cyber" and (role, name) not in chosen_by.UNTRAINED]
        for hard in (False, True):
            members = benign(turns, role, hard=hard)
            without = reached(members, role, points, IDENTITY, level=2, names=others)
            assert (
                reached(members, role, points, IDENTITY, level=2, names=[*others, "cyber"]) == without
            ).all()
        assert points[role]["cyber"][2] >= chosen_by.UNPROVEN_LOWEST


def test_a_head_that_was_never_trained_gets_no_point():
    points = choose_points(made_up(1), IDENTITY)
    assert points["assistant"]["injection_jailbreak"] is None
    assert points["user"]["injection_jailbreak"] is not None
    assert all(list(heads) == list(CATEGORIES) for heads in points.values())


def test_a_severer_point_is_never_lower(monkeypatch):
    chosen = {1: 0.6, 2: 0.5, 3: 0.4}
    monkeypatch.setattr(chosen_by.Chooser, "choose", lambda _, level: {"drugs": chosen[level]})
    assert choose_points([], IDENTITY)["user"]["drugs"] == {1: 0.6, 2: 0.6, 3: 0.6}


def test_without_any_harmful_turn_every_point_costs_nothing():
    points = choose_points([item(group="ordinary", cyber=2.0)], IDENTITY)
    assert points["user"]["cyber"][1] > 1 / (1 + np.exp(-2.0))
    assert points["assistant"]["cyber"][1] == chosen_by.UNPROVEN_LOWEST
