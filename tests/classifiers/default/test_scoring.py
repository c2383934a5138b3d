"""A turn's judged score reaches a threshold exactly when the policy's judge finds something."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.default.architecture import CATEGORIES
from classifiers.default.conversation import Example
from classifiers.default.scoring import PackModel, Scored, load, score
from classifiers.default.sets import Case, case
from guardrail.core.spans import Span
from guardrail.core.verdicts import Role, TokenScore
from guardrail.policy.judge import LaneJudge
from guardrail.policy.prompt import judge_turn
from guardrail.policy.rules import CategoryRules, Policy, RoleRules
from tests.classifiers.default.conftest import PACK
from tests.classifiers.default.made_up import answer, user
from tests.classifiers.default.test_conversation import ENCODER

COLUMN = CATEGORIES.index("violence")
POINTS = {1: 0.3, 2: 0.5, 3: 0.8}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logit(value):
    return float(np.log(value / (1 - value)))


def scored(row, values):
    """A case of `row` whose tokens have these scores for violence."""
    made = case(row, ENCODER)
    (span,) = made.example.spans
    logits = np.full((span.end - span.start, len(CATEGORIES)), -9.0)
    logits[:, COLUMN] = [logit(values[place % len(values)]) for place in range(len(logits))]
    return Scored(made, logits.astype(np.float32))


def severest(item):
    """The severity that the policy finds, 0 for nothing, when the turn streams by with these scores."""
    text, role = item.case.row["text"], Role(item.case.role)
    rules = RoleRules(interventions=dict.fromkeys(POINTS, "replace"), thresholds=POINTS)
    only = {role.value: rules}
    judge = LaneJudge(Policy(version=1, name="test", categories={"violence": CategoryRules(**only)}), role)
    offsets = ENCODER.tokenizer.encode(text, add_special_tokens=False).offsets
    scores = sigmoid(item.logits[:, COLUMN].astype(np.float64))
    tokens = [
        TokenScore(Span(*span), {"violence": float(one)}) for span, one in zip(offsets, scores, strict=True)
    ]
    if role is Role.USER:
        verdicts = judge_turn(judge, text, tokens)
    else:
        verdicts = [*(judge.judge(token) for token in tokens), judge.finish()]
    return max((finding.severity for verdict in verdicts for finding in verdict.findings), default=0)


WORDS = st.sampled_from(
    ["I", "die", "laughing.", "Really?", "well\n", "3.5", "e.g. tea,", "so…", "😀", '"No."', "- a\n"]
)
TEXT = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)
# Near every point and on both sides, so that each is reached in some and missed in others.
VALUES = st.lists(st.sampled_from([0.1, 0.29, 0.31, 0.49, 0.51, 0.79, 0.81]), min_size=1, max_size=40)


@given(TEXT, VALUES, st.sampled_from(["user", "assistant"]))
def test_a_threshold_is_reached_exactly_when_the_judge_finds_something(text, values, role):
    item = scored(user(text) if role == "user" else answer(text, "Well?"), values)
    reached = float(sigmoid(item.judged[COLUMN].astype(np.float64)))
    assert max((level for level, point in POINTS.items() if reached >= point), default=0) == severest(item)


@pytest.mark.parametrize(
    ("values", "judged"),
    [
        ([0.1, 0.9, 0.1, 0.2], 0.2),  # one token does not make a finding
        ([0.1, 0.9, 0.7, 0.2], 0.7),
        ([0.1, 0.2, 0.2, 0.9], 0.9),  # the last stands by itself
        ([0.9, 0.1, 0.9, 0.1], 0.1),
    ],
)
def test_of_an_answer_two_tokens_running_count_or_the_last(values, judged):
    item = scored(answer("one two three four", "Well?"), values)
    assert sigmoid(item.judged[COLUMN]) == pytest.approx(judged, abs=1e-6)


def test_an_answer_of_one_token_is_judged_by_it():
    item = scored(answer("one", "Well?"), [0.7])
    assert sigmoid(item.judged[COLUMN]) == pytest.approx(0.7, abs=1e-6)


def test_of_a_users_turn_only_the_ends_of_sentences_count():
    text = "I die laughing. Fine then."  # i die laughing . fine then .
    assert sigmoid(scored(user(text), [0.9, 0.9, 0.9, 0.2, 0.9, 0.9, 0.3]).judged[COLUMN]) == pytest.approx(
        0.3
    )


def test_every_category_is_judged_by_itself():
    item = scored(answer("one two three", "Well?"), [0.1])
    item.logits[0:2, 0] = item.logits[1:3, 2] = 3
    assert item.judged[[0, 2, 4]].tolist() == [3, 3, -9]
    assert item.last[[0, 2, 4]].tolist() == [-9, 3, -9]


class Echo:
    """A model whose logit is the token's id, to see which token was read."""

    def __init__(self):
        self.batches = []

    def whole(self, sequences):
        self.batches.append(list(map(len, sequences)))
        logits = np.zeros((len(sequences), max(map(len, sequences)), 2, len(CATEGORIES)), np.float32)
        for row, ids in enumerate(sequences):
            logits[row, : len(ids), 0] = np.array(ids)[:, None]
            logits[row, : len(ids), 1] = -np.array(ids)[:, None]
        return logits


def test_each_turn_gets_its_own_tokens_of_its_own_head_in_order():
    texts = [user(f"{'word ' * count}end", {}) for count in (30, 2, 11)]
    rows = [*texts, answer("Fine.", "Well?"), user(" "), answer("Good 😀", None)]
    model = Echo()
    found = score(model, [case(row, ENCODER) for row in rows], batch_tokens=40)
    assert [item.case.row["text"] for item in found] == [row["text"] for row in rows if row["text"].strip()]
    for item in found:
        sign = 1 if item.case.role == "user" else -1
        assert (sign * item.logits[:, 0]).tolist() == ENCODER.pieces(item.case.row["text"])
    assert all(max(batch) * len(batch) <= 40 for batch in model.batches)
    assert max(map(len, model.batches)) > 1


def test_what_was_scored_can_be_read_again_unless_the_categories_changed(tmp_path):
    made = [
        Scored(Case({"role": "user"}, Example([1])), np.zeros((2, count), np.float32)) for count in (17, 5)
    ]
    for item in made:
        path = tmp_path / f"{item.logits.shape[1]}.pkl"
        path.write_bytes(pickle.dumps([item]))
    assert load(tmp_path / "17.pkl")[0].case.row == {"role": "user"}
    with pytest.raises(ValueError, match="another set of categories"):
        load(tmp_path / "5.pkl")


def test_the_shipped_pack_scores_a_turn():
    items = [case(user("I am so low today"), ENCODER), case(answer("Paris, of course.", "Which?"), ENCODER)]
    model = PackModel(PACK / "model.onnx", threads=1)
    together, alone = score(model, items), [score(model, [item])[0] for item in items]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.logits, other.logits)
        assert one.logits.shape == (len(ENCODER.pieces(one.case.row["text"])), len(CATEGORIES))
