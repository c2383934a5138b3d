"""A pack of any family, ready to score, or an error that says why not."""

from __future__ import annotations

import threading

import pytest

from guardrail.core.verdicts import Role
from guardrail.engine.batcher import BatchLimits
from guardrail.engine.causal import CausalScorer
from guardrail.engine.loading import load_scorer
from guardrail.engine.pack import load_pack
from guardrail.engine.window import WindowScorer
from guardrail.errors import PackError


def engine_threads():
    return [thread for thread in threading.enumerate() if thread.name == "guardrail-engine"]


async def test_a_pack_is_run_by_its_family(real_pack_directory, window_pack):
    families = {}
    for pack in (real_pack_directory, window_pack, str(window_pack.directory)):
        scorer = load_scorer(pack, "cpu", intra_op_threads=1)
        families.setdefault(type(scorer), []).append(scorer.pack.family)
        lane = scorer.open()
        lane.begin_turn(Role.USER)
        assert len(await lane.extend("the cat")) == 2
        assert (scorer.provider, scorer.why_not_cuda) == ("cpu", "not asked for")
        scorer.close()

    assert families == {CausalScorer: ["causal"], WindowScorer: ["window", "window"]}


def test_limits_are_passed_on(window_pack):
    limits = BatchLimits(max_batch_tokens=100, max_batch_lanes=2)
    scorer = load_scorer(window_pack, "cpu", intra_op_threads=1, limits=limits)
    scorer.close()

    assert scorer.runner._batcher._limits == limits


@pytest.mark.parametrize("graph", [{"neighbourly": True}, {"output": "scores"}])
def test_a_pack_that_cannot_be_used_starts_no_thread(graph, write_window_pack, tmp_path):
    before = engine_threads()
    pack = load_pack(write_window_pack(tmp_path / "toy", graph=graph))
    with pytest.raises(PackError):
        load_scorer(pack, "cpu", intra_op_threads=1)

    assert engine_threads() == before
