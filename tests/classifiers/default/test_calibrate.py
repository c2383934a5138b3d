"""Scales are found again, and operating points disturb no more benign turns than they may."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.default import calibrate
from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.calibrate import (
    BUDGET,
    FEWEST_POSITIVES,
    HELPING,
    LOWEST,
    OWN_INSERTS,
    UNTRAINED,
    Benign,
    benign,
    choose_points,
    fit,
    labelled,
    logit,
    platt,
    sigmoid,
)
from classifiers.default.conversation import Example
from classifiers.default.labels import ANY, INDEX
from classifiers.default.scoring import Scored
from classifiers.default.sets import Case

IDENTITY = {r: {c: {"scale": 1.0, "offset": 0.0} for c in CATEGORIES} for r in ROLES}
SURE = 9.0


def item(role="user", *, group="dev", src="made_up", labels=None, harm=0, lang="en", **logits):
    """A turn of one token with these logits, elsewhere -9."""
    row = {
        "role": role,
        "group": group,
        "src": src,
        "labels": labels or {},
        "harm": harm,
        "lang": lang,
        "text": "x",
    }
    values = np.full((1, len(CATEGORIES)), -SURE, np.float32)
    for name, value in logits.items():
        values[0, INDEX[name]] = value
    return Scored(Case(row, Example([1]), [0]), values)


# -- scales ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.5, -1.5), (2.0, 1.0)])
def test_a_known_scale_is_found_again(scale, offset):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, 20000)
    target = (rng.random(20000) < sigmoid(scale * logits + offset)).astype(float)
    assert platt(logits, target) == pytest.approx((scale, offset), abs=0.12)


def test_a_head_with_too_few_rows_of_a_kind_keeps_its_own_scale():
    logits = np.linspace(-3, 3, 200)
    for positives in (FEWEST_POSITIVES - 1, 200 - FEWEST_POSITIVES + 1):
        target = np.zeros(200)
        target[200 - positives :] = 1
        assert platt(logits, target) == (1, 0)


def test_a_head_that_orders_rows_the_wrong_way_keeps_its_own_scale():
    logits = np.linspace(-3, 3, 200)
    assert platt(logits, (logits < 0).astype(float)) == (1, 0)


def test_only_rows_whose_label_is_known_count():
    rows = [
        item(harm=1, labels={"violence": 2}, violence=1),
        item(harm=0, violence=2),
        item(harm=1, labels={"violence": 1}, violence=3),  # mild: neither
        item(harm=1, labels={"drugs": 2}, violence=4),  # nobody said
        item(harm=None, violence=5),
        item("assistant", harm=1, labels={"violence": 2}, violence=6),
        item(group="splice", harm=1, labels={"violence": 2}, violence=7),
        item(group="generated", harm=1, labels={"violence": 2}, violence=8),
    ]
    logits, target = labelled(rows, "user", INDEX["violence"])
    assert (logits.tolist(), target.tolist()) == ([1, 2], [1, 0])


def test_distress_says_nothing_about_self_harm_in_a_set_about_distress():
    rows = [item(src="caia_constructive_prompts", group="lookalike", labels={"mental_distress": 2})]
    assert not len(labelled(rows, "user", INDEX["self_harm"])[0])
    assert len(labelled(rows, "user", INDEX["drugs"])[0])


def test_the_last_token_is_what_is_fitted():
    turn = item(harm=0)
    turn.logits = np.vstack([np.full(17, 5), np.full(17, -4)]).astype(np.float32)
    assert labelled([turn], "user", 0)[0].tolist() == [-4]


def test_every_head_gets_a_scale_and_an_untrained_one_its_own():
    rng = np.random.default_rng(1)
    rows = []
    for value in rng.normal(0, 3, 600):
        for name in ("violence", "injection_jailbreak"):
            hit = rng.random() < sigmoid(np.float64(2 * value))
            rows.append(item("assistant", labels={name: 2} if hit else {}, harm=int(hit), **{name: value}))
    found = fit(rows)
    assert {role: list(heads) for role, heads in found.items()} == {role: list(CATEGORIES) for role in ROLES}
    assert found["assistant"]["violence"]["scale"] == pytest.approx(2, abs=0.5)
    assert {("assistant", "injection_jailbreak")} == UNTRAINED
    assert found["assistant"]["injection_jailbreak"] == {"scale": 1.0, "offset": 0.0}


@pytest.mark.parametrize("score", [0.15, 0.5, 0.999])
def test_logit_is_the_inverse(score):
    assert sigmoid(np.array(logit(score))) == pytest.approx(score)


# -- benign turns ------------------------------------------------------------------------------------------

TURNS = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=60
)


@given(TURNS, st.sampled_from([0, 0.01, 0.05, 0.2, 0.5, 1]), st.floats(-5, 5))
def test_a_point_finds_at_most_its_share_of_what_is_not_found_yet(turns, share, earlier):
    table = Benign.of([item(src=src, violence=one, drugs=two) for src, one, two in turns])
    assert table.weight.sum() == pytest.approx(1)
    table.find(INDEX["drugs"], earlier)
    before = table.share_found
    point = table.lowest(INDEX["violence"], share)
    table.find(INDEX["violence"], point)
    assert table.share_found - before <= share + 1e-9


@given(TURNS, st.sampled_from([0, 0.05, 0.2, 0.5]))
def test_no_lower_point_would_do(turns, share):
    table = Benign.of([item(src=src, violence=one) for src, one, _ in turns])
    table.find(INDEX["violence"], table.lowest(INDEX["violence"], share) - 2 * calibrate.MARGIN)
    assert table.share_found > share - 1e-9 or table.found.all()


def test_every_source_weighs_the_same():
    turns = [item(src="large", violence=-n) for n in range(90)] + [
        item(src="small", violence=5 + n) for n in range(10)
    ]
    table = Benign.of(turns)
    # Of 100 turns 20 would be a fifth; but four of the small source's ten are one already.
    point = table.lowest(INDEX["violence"], 0.2)
    assert 10 < point < 11.1
    table.find(INDEX["violence"], point)
    assert table.share_found == pytest.approx(0.2, abs=0.051)


def test_with_a_share_of_everything_there_is_no_lowest_point():
    assert Benign.of([item(), item()]).lowest(0, 1.1) == -np.inf
    assert Benign.of([]).lowest(0, 0.1) == -np.inf


def test_ordinary_and_hard_turns_are_told_apart():
    wanted = {
        "ordinary": item(group="ordinary"),
        "constructive": item(group="constructive"),
        "lookalike": item(group="lookalike"),
        "generated": item(group="generated"),
    }
    others = [
        item(group="dev"),
        item(group="ordinary", harm=1),
        item(group="ordinary", harm=None),
        item(group="lookalike", labels={"mental_distress": 1}),
        item(group="ordinary", lang="de"),
        item("assistant", group="ordinary"),
    ]
    turns = [*wanted.values(), *others]
    assert benign(turns, "user", hard=False) == [wanted["ordinary"]]
    assert benign(turns, "user", hard=True) == [wanted[n] for n in ("constructive", "lookalike", "generated")]


def test_a_large_hard_source_is_capped(monkeypatch):
    monkeypatch.setattr(calibrate, "HARD_ROWS_A_SOURCE", 3)
    turns = [item(group="lookalike", src=src) for src in "aaaaab"]
    assert [one.case.row["src"] for one in benign(turns, "user", hard=True)] == list("aaab")


# -- points ------------------------------------------------------------------------------------------------


def made_up(seed, scale=1.0):
    """Benign and harmful turns of several sources, some of them hot, with the heads' logits at random."""
    rng = np.random.default_rng(seed)

    def turn(role, group, src, heat, **more):
        one = item(role, group=group, src=src, **more)
        one.logits[:] = rng.normal(heat, 2.5, len(CATEGORIES)) / scale
        return one

    turns = []
    for role in ROLES:
        turns += [turn(role, "ordinary", "large", -6) for _ in range(400)]
        turns += [turn(role, "ordinary", "small", -1) for _ in range(60)]
        turns += [turn(role, "lookalike", "near", 0) for _ in range(120)]
        turns += [turn(role, "constructive", "far", -5) for _ in range(300)]
        for name in CATEGORIES[:-1]:
            turns += [turn(role, "dev", "bad", 5, labels={name: 2}, harm=1) for _ in range(20)]
    return turns + [turn("assistant", "generated", src, 2) for src in sorted(OWN_INSERTS) for _ in range(10)]


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
            weight = Benign.of(members).weight
            for level in (1, 2, 3):
                helping = HELPING if role == "user" else {}
                rest = [name for name in CATEGORIES if name not in helping]
                budget = BUDGET[role][level][hard]
                share = weight[reached(members, role, points, heads, level=level, names=rest)].sum()
                assert share <= budget + 1e-9, (role, level, hard)
                spent.append(share / budget)
                # Distress where self-harm is found already disturbs nobody more.
                share = weight[reached(members, role, points, heads, level=level, names=helping)].sum()
                factor = {1: 2.0, 2: 1.0, 3: 0.3}[level]
                assert share <= factor * sum(shares[hard] for shares in helping.values()) + 1e-9, level
    # Not by finding nothing at all.
    assert max(spent) > 0.5


@pytest.mark.parametrize(("seed", "scale", "offset"), [(1, 1.0, 0.0), (2, 0.4, -1.0), (2, 2.5, 1.0)])
def test_our_own_words_are_never_found(seed, scale, offset):
    turns, heads = made_up(seed, scale), heads_of(scale, offset)
    # Hot enough to be found if nobody took care.
    for one in turns[-4:]:
        one.logits[:] = 8 / scale
    points = choose_points(turns, heads)
    own = [one for one in turns if one.case.row["src"] in OWN_INSERTS]
    for level in (2, 3):
        assert not reached(own, "assistant", points, heads, level=level, names=CATEGORIES).any()


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.4, -1.0)])
def test_points_ascend_and_are_never_very_low(scale, offset):
    points = choose_points(made_up(3, scale), heads_of(scale, offset))
    chosen = [levels for heads in points.values() for levels in heads.values() if levels]
    assert len(chosen) > 20
    for levels in chosen:
        assert list(levels) == [1, 2, 3]
        assert levels[1] <= levels[2] <= levels[3] <= 1
        assert all(levels[level] >= LOWEST[level] - 1e-4 for level in levels)


def test_where_benign_turns_are_clean_the_lowest_allowed_point_is_taken():
    turns = [
        item(role, group=group) for role in ROLES for group in ("ordinary", "lookalike") for _ in range(50)
    ]
    turns += [item(role, labels={"drugs": 2}, harm=1, drugs=3) for role in ROLES]
    points = choose_points(turns, IDENTITY)
    for role in ROLES:
        assert points[role]["drugs"] == pytest.approx(LOWEST, abs=1e-4)


def test_a_head_that_finds_nothing_of_its_category_gets_no_point():
    turns = made_up(1)
    for one in turns:
        if one.case.row["labels"].get("cyber"):
            one.logits[:, INDEX["cyber"]] = -SURE
    points = choose_points(turns, IDENTITY)
    for role in ROLES:
        assert points[role]["cyber"] is None
        assert points[role]["drugs"] is not None


def test_a_head_that_was_never_trained_gets_no_point():
    points = choose_points(made_up(1), IDENTITY)
    assert points["assistant"]["injection_jailbreak"] is None
    assert points["user"]["injection_jailbreak"] is not None
    assert all(list(heads) == list(CATEGORIES) for heads in points.values())


def test_harm_of_any_kind_is_spent_on_first():
    """It may spend the larger part of the budget, the other heads what is left."""
    turns = made_up(1)
    members = benign(turns, "user", hard=True)
    points = choose_points(turns, IDENTITY)
    weight = Benign.of(members).weight
    spent = weight[reached(members, "user", points, IDENTITY, level=1, names=["any_harm"])].sum()
    assert spent <= calibrate.ANY_SHARE * BUDGET["user"][1][1]
    assert CATEGORIES[ANY] == "any_harm"


def test_the_command_writes_what_the_exporter_reads(tmp_path, monkeypatch, capsys):
    (tmp_path / "scores.pkl").write_bytes(pickle.dumps(made_up(1)[::9]))
    output = tmp_path / "calibration.json"
    monkeypatch.setattr("sys.argv", ["x", "--scores", str(tmp_path / "scores.pkl"), "--output", str(output)])
    calibrate.main()
    written = json.loads(output.read_text("utf-8"))
    assert set(written) == {"calibration", "operating_points"}
    assert list(written["operating_points"]["user"]["any_harm"]) == ["1", "2", "3"]
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(CATEGORIES)
