"""Scales are found again; the command writes what the exporter reads."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from classifiers.default import calibrate
from classifiers.default.architecture import CATEGORIES, ROLES
from classifiers.default.calibrate import FEWEST_POSITIVES, UNTRAINED, fit, labelled, platt
from classifiers.default.labels import INDEX
from tests.classifiers.default.made_up_scores import item, made_up


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


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


def test_the_command_writes_what_the_exporter_reads(tmp_path, monkeypatch, capsys):
    (tmp_path / "scores.pkl").write_bytes(pickle.dumps(made_up(1)[::9]))
    output = tmp_path / "calibration.json"
    monkeypatch.setattr("sys.argv", ["x", "--scores", str(tmp_path / "scores.pkl"), "--output", str(output)])
    calibrate.main()
    written = json.loads(output.read_text("utf-8"))
    assert set(written) == {"calibration", "operating_points"}
    assert list(written["operating_points"]["user"]["any_harm"]) == ["1", "2", "3"]
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(CATEGORIES)
