"""Batches hold every conversation once, the loss pushes the right tokens, and a run goes on where it ended."""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: make test-train")
pytest.importorskip("onnx", reason="onnx is not installed: make test-train")

import torch

from classifiers.default import train as module
from classifiers.default.architecture import CATEGORIES, Architecture
from classifiers.default.conversation import Example, Span
from classifiers.default.data import Pool
from classifiers.default.labels import ANY, INDEX, targets
from classifiers.default.model import CausalClassifier
from classifiers.default.train import Batch, PoolReader, learning_rate, stream_loss, train

pytestmark = pytest.mark.torch

SMALL = Architecture(vocabulary=300, positions=64, layers=1, heads=2, hidden=32, inner=64)
VIOLENCE, DRUGS = INDEX["violence"], INDEX["drugs"]
EQUAL = torch.ones(2, len(CATEGORIES))


# -- batches -----------------------------------------------------------------------------------------------


def made_up_pool(count=40):
    """Conversations of various lengths; the first token says which one it is."""
    rng = random.Random(1)
    pool = Pool()
    for number in range(count):
        example = Example([number, *(rng.randrange(100, 300) for _ in range(rng.randint(6, 40)))])
        size = len(example.ids)
        for role in range(number % 3):  # some have no scored turn, some two
            labels = {"violence": 2} if number % 2 else {}
            target, weight = targets(labels, int(bool(labels)), ("user", "assistant")[role], "made_up")
            start = 1 + role * 2
            onset = 1 if number % 2 and role else -1
            example.spans.append(Span(role, target, weight, onset, start, size - 1 + role))
        pool.add(example, "made_up")
    return pool


@pytest.fixture
def pool_file(tmp_path):
    made_up_pool().save(tmp_path / "pool.npz")
    return tmp_path / "pool.npz"


def test_every_conversation_is_in_one_batch(pool_file):
    reader = PoolReader(pool_file, 120)
    for seed in range(3):
        batches = list(reader.epoch(random.Random(seed)))
        assert Counter(int(row[0]) for batch in batches for row in batch.ids) == Counter(range(40))
        assert len(batches) > 5


def test_batches_come_with_the_spans_of_their_conversations(pool_file):
    pool = made_up_pool()
    spans = {}
    for (example, *rest), target, weight in zip(pool.spans, pool.target, pool.weight, strict=True):
        spans.setdefault(example, []).append((rest, target, weight))
    for batch in PoolReader(pool_file, 120).epoch(random.Random(1)):
        assert batch.ids.dtype == batch.spans.dtype == torch.int64
        seen = {}
        for (row, *rest), target, weight in zip(
            batch.spans.tolist(), batch.target, batch.weight, strict=True
        ):
            seen.setdefault(int(batch.ids[row, 0]), []).append((rest, target.numpy(), weight.numpy()))
        for row in batch.ids:
            number = int(row[0])
            ids = pool.ids[pool.offsets[number] : pool.offsets[number + 1]]
            assert row[: len(ids)].tolist() == ids
            assert not row[len(ids) :].any()
            expected = spans.get(number, [])
            assert [rest for rest, _, _ in seen.get(number, [])] == [rest for rest, _, _ in expected]
            for (_, *got), (_, *wanted) in zip(seen.get(number, []), expected, strict=True):
                assert np.allclose(got, wanted, atol=1e-3)  # half precision on disk


def test_batches_are_about_as_large_as_asked_and_of_like_lengths(pool_file):
    for batch in PoolReader(pool_file, 120).epoch(random.Random(1)):
        rows, longest = batch.ids.shape
        assert rows == 1 or rows * longest <= 120 * 1.25
        assert (batch.ids[:, 1:] > 0).sum() >= 0.7 * rows * (longest - 1)


def test_epochs_are_shuffled_by_the_seed(pool_file):
    reader = PoolReader(pool_file, 120)
    first, again, other = ([b.ids[:, 0].tolist() for b in reader.epoch(random.Random(s))] for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_rare_positives_weigh_more(tmp_path):
    pool = Pool()
    for number in range(200):
        target, weight = targets({"violence": 2} if number < 2 else {}, int(number < 2), "user", "made_up")
        pool.add(Example([1, 2], [Span(0, target, weight, -1, 0, 2)]), "a")
    pool.save(tmp_path / "pool.npz")
    positive = PoolReader(tmp_path / "pool.npz", 10).positive_weight()
    assert positive.shape == (2, len(CATEGORIES))
    assert positive[0, VIOLENCE] == pytest.approx(math.sqrt(198 / 2) / 2, rel=0.01)
    assert (positive >= 1).all()
    assert (positive <= 5).all()
    assert (positive[1] == 1).all()  # nobody answered


# -- the loss ----------------------------------------------------------------------------------------------


def batch_of(*spans, tokens=20, rows=1):
    """Made-up spans: (row, start, end, role, onset, labels, harm)."""
    made = [
        targets(labels, harm, ("user", "assistant")[role], "made_up") for *_, role, _, labels, harm in spans
    ]
    return Batch(
        torch.zeros((rows, tokens), dtype=torch.int64),
        torch.tensor([span[:5] for span in spans]),
        torch.from_numpy(np.stack([target for target, _ in made])),
        torch.from_numpy(np.stack([weight for _, weight in made])),
    )


def pushes(batch, logits=None):
    """Where each logit would go, [B, T, 2, 17]: up where positive."""
    if logits is None:
        logits = torch.zeros((*batch.ids.shape, 2, len(CATEGORIES)))
    logits.requires_grad_()
    loss = stream_loss(logits, batch, EQUAL)
    assert loss.isfinite()
    loss.backward()
    return -logits.grad


def test_a_harmless_turn_is_pushed_down_everywhere_and_nothing_outside_it():
    push = pushes(batch_of((0, 5, 12, 1, -1, {}, 0)))
    assert (push[0, 5:12, 1] < 0).all()
    push[0, 5:12, 1] = 0
    assert not push.any()


def test_each_role_has_its_own_head_and_each_row_its_own_spans():
    spans = ((0, 2, 6, 0, -1, {}, 0), (1, 8, 20, 1, -1, {}, 0))
    push = pushes(batch_of(*spans, rows=2))
    assert (push[0, 2:6, 0] < 0).all()
    assert (push[1, 8:20, 1] < 0).all()
    push[0, 2:6, 0] = push[1, 8:20, 1] = 0
    assert not push.any()


def test_a_masked_category_gets_no_gradient():
    batch = batch_of((0, 2, 12, 1, -1, {"violence": 2}, 1))
    push = pushes(batch)
    masked = batch.weight[0] == 0
    assert masked.any()
    assert not push[..., masked].any()
    assert (push[0, 2:12, 1][:, ~masked] != 0).all()


def test_an_unlabelled_row_teaches_nothing():
    assert not pushes(batch_of((0, 2, 12, 1, -1, {}, None))).any()


def test_a_harmful_turn_is_pushed_up_the_more_the_further_it_goes():
    for role in (0, 1):
        push = pushes(batch_of((0, 2, 18, role, -1, {"violence": 2}, 1)))[0, 2:18, role, VIOLENCE]
        assert (push > 0).all()
        assert push[-1] == push.max()
        assert push[4] < push[12]


def rising(tokens, start):
    """Logits that are higher from `start` on, as a network's that has learnt something."""
    logits = torch.zeros((1, tokens, 2, len(CATEGORIES)))
    logits[:, start:] = 1
    return logits


def test_before_a_known_onset_nothing_is_pushed_up_and_after_it_everything():
    push = pushes(batch_of((0, 2, 18, 1, 6, {"violence": 2}, 1)), rising(20, 8))[0, :, 1, VIOLENCE]
    assert (push[2:8] < 0).all()
    assert (push[8:18] > 0).all()
    assert not push[:2].any()
    assert not push[18:].any()
    assert push[9] > push[8] * 0.9  # growing, within the ramp
    # What is not harmful in it stays down on both sides.
    other = pushes(batch_of((0, 2, 18, 1, 6, {"violence": 2}, 1)), rising(20, 8))[
        0, :, 1, INDEX["misinformation"]
    ]
    assert (other[2:18] < 0).all()


def test_an_onset_at_once_leaves_nothing_before_it():
    push = pushes(batch_of((0, 2, 18, 1, 0, {"violence": 2}, 1)))[0, :, 1, VIOLENCE]
    assert (push[2:18] > 0).all()


def test_a_false_alarm_before_the_onset_is_pushed_down():
    logits = torch.zeros((1, 20, 2, len(CATEGORIES)))
    logits[:, 2:5] = 1  # an alarm in the benign opening
    assert (pushes(batch_of((0, 2, 18, 1, 6, {"violence": 2}, 1)), logits)[0, 2:5, 1, VIOLENCE] < 0).all()


def test_the_peak_that_counts_stands_after_the_onset():
    """Even where all of the opening is louder than what follows."""
    logits = torch.zeros((1, 20, 2, len(CATEGORIES)))
    logits[:, :8] = 3
    push = pushes(batch_of((0, 2, 18, 1, 6, {"violence": 2}, 1)), logits)[0, :, 1, VIOLENCE]
    assert (push[2:8] < 0).all()
    assert (push[8:18] > 0).all()


def test_a_turn_that_was_cut_before_its_onset_is_harmless_as_far_as_it_goes():
    push = pushes(batch_of((0, 2, 18, 1, 30, {"violence": 2}, 1)))[0, 2:18, 1, VIOLENCE]
    assert (push < 0).all()


def test_a_turn_of_one_token_is_learnt_too():
    for labels in ({}, {"violence": 2}):
        push = pushes(batch_of((0, 3, 4, 0, -1, labels, int(bool(labels)))))
        assert (push[0, 3, 0, VIOLENCE] > 0) == bool(labels)
        push[0, 3, 0] = 0
        assert not push.any()


def test_a_mild_label_settles_in_between():
    batch = batch_of((0, 2, 18, 0, -1, {"violence": 1}, 1))
    target = float(batch.target[0, VIOLENCE])
    settled = torch.full((1, 20, 2, len(CATEGORIES)), math.log(target / (1 - target)))
    assert pushes(batch, settled)[..., VIOLENCE].abs().max() < 1e-6


def test_rare_categories_and_harm_of_any_kind_count_more():
    batch = batch_of((0, 2, 18, 0, -1, {"violence": 2}, 1))
    logits = torch.zeros((1, 20, 2, len(CATEGORIES)))
    rare = EQUAL.clone()
    rare[0, VIOLENCE] = 3
    assert stream_loss(logits, batch, rare) > stream_loss(logits, batch, EQUAL)
    down = pushes(batch_of((0, 2, 18, 0, -1, {}, 0)))[0, 5, 0]
    assert float(down[ANY]) == pytest.approx(2 * float(down[DRUGS]))


def test_the_loss_is_lowest_for_the_right_answer():
    batch = batch_of((0, 2, 18, 1, 6, {"violence": 2}, 1))
    right = torch.full((1, 20, 2, len(CATEGORIES)), -8.0)
    right[:, 8:, :, VIOLENCE] = right[:, 8:, :, ANY] = 8
    wrong = -right
    assert stream_loss(right, batch, EQUAL) < 0.05
    assert stream_loss(wrong, batch, EQUAL) > 1


# -- the run -----------------------------------------------------------------------------------------------


def test_the_rate_warms_up_and_falls_to_almost_nothing():
    progress = np.linspace(0, 1, 1001)
    rates = np.array([learning_rate(one) for one in progress])
    peak = int(rates.argmax())
    assert rates.max() == pytest.approx(1, abs=1e-3)
    assert progress[peak] == pytest.approx(0.03, abs=2e-3)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 0 < rates[0] <= 0.06
    assert rates[-1] == pytest.approx(0.02)
    assert np.abs(np.diff(rates)).max() < 0.05


class Clock:
    """A second passes each time it is looked at."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1
        return self.now


@pytest.fixture
def run(tmp_path, monkeypatch, pool_file):
    """Train a small network for so many looks at the clock; returns the checkpoint."""
    torch.manual_seed(1)
    first = CausalClassifier(SMALL)
    monkeypatch.setattr(module, "time", Clock())

    def start(directory):
        model = CausalClassifier(SMALL)
        model.load_state_dict(first.state_dict())
        return model

    monkeypatch.setattr(module, "starting_point", start)

    def go(minutes, *, resume=False, save_every=3.0, start_share=0.0):
        args = argparse.Namespace(
            pool=pool_file, start=tmp_path, output=tmp_path / "run", minutes=minutes, rate=1e-2, batch_tokens=120,
            save_every=save_every, seed=1, resume=resume, start_share=start_share,
        )  # fmt: skip
        train(args)
        return torch.load(tmp_path / "run" / "last.pt", weights_only=True)

    go.first = first.state_dict()
    return go


def test_a_run_learns_and_keeps_an_average(run, pool_file):
    state = run(0.4)
    assert state["step"] > 10
    assert state["epoch"] >= 1
    assert state["spent"] == pytest.approx(24)
    batch = next(PoolReader(pool_file, 4000).epoch(random.Random(1)))
    model = CausalClassifier(SMALL).eval()
    losses = []
    for weights in (run.first, state["raw"], state["model"]):
        model.load_state_dict(weights)
        with torch.no_grad():
            losses.append(float(stream_loss(model(batch.ids), batch, EQUAL)))
    assert max(losses[1:]) < 0.9 * losses[0]
    assert not torch.equal(state["raw"]["head.bias"], state["model"]["head.bias"])


def test_what_it_ends_with_holds_its_share_of_what_it_began_with(run):
    (ended, mixed) = (run(0.3, start_share=share)["model"] for share in (0.0, 0.25))
    for name, value in ended.items():
        torch.testing.assert_close(mixed[name], 0.75 * value + 0.25 * run.first[name])


def test_a_resumed_run_goes_on_counting(run):
    first = run(0.3)
    second = run(0.6, resume=True)
    assert second["step"] > first["step"] > 3
    assert second["epoch"] > first["epoch"]
    assert second["spent"] == pytest.approx(36)
    # About as many steps as in the same time before: it did not start again.
    assert second["step"] - first["step"] <= 1.2 * first["step"] + 2
    moments = [next(iter(state["optimizer"]["state"].values()))["step"] for state in (first, second)]
    assert [int(moment) for moment in moments] == [first["step"], second["step"]]


def test_a_run_whose_time_is_up_adds_nothing(run):
    first = run(0.3)
    again = run(0.3, resume=True)
    assert again["step"] == first["step"]
    assert all(torch.equal(first["model"][name], again["model"][name]) for name in first["model"])


def test_without_resume_a_run_starts_afresh(run):
    first = run(0.3)
    again = run(0.3)
    assert again["step"] == pytest.approx(first["step"], abs=2)


def test_a_checkpoint_is_written_on_the_way(run, tmp_path, monkeypatch):
    written = []
    save = module.save
    monkeypatch.setattr(module, "save", lambda *args: (written.append(args[5]), save(*args)))
    run(0.5, save_every=0.1)
    assert len(written) > 2
    assert written == sorted(written)
    assert not list((tmp_path / "run").glob("*.new"))
