"""Policy, pack, composer and telemetry are checked against each other before the first stream (invariant 9)."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import pytest

from guardrail.app import wiring
from guardrail.app.wiring import Settings, assemble, load_checked_policy
from guardrail.core.verdicts import Role
from guardrail.engine.loading import load_scorers
from guardrail.engine.pack import load_pack
from guardrail.errors import ConfigError, PackError
from guardrail.transports.engine_remote import RemoteScorer
from tests.app.helpers import POINTS, POLICY, FakeEngine, write_pack
from tests.engine.lexical_packs import write_lexical_pack
from tests.engine.window_packs import write_window_pack


@pytest.fixture
def pack(tmp_path):
    return write_pack(tmp_path / "toy")


@pytest.fixture
def policy_file(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def test_open_thresholds_are_the_packs_operating_points(policy_file, pack):
    policy, (loaded,) = load_checked_policy(policy_file, [str(pack)])
    assert loaded.name == "toy"
    assert policy.categories["violence"].assistant.thresholds == {2: 0.5, 3: 0.9}


def test_the_policy_names_its_pack_unless_a_flag_does(policy_file, pack):
    policy_file.write_text(f"pack: {pack}\n{POLICY}")
    assert load_checked_policy(policy_file)[1][0].name == "toy"


def test_a_category_the_pack_does_not_score_is_refused(policy_file, tmp_path):
    pack = write_pack(tmp_path / "narrow", categories=("violence",))
    with pytest.raises(ConfigError) as caught:
        load_checked_policy(policy_file, [str(pack)])
    error = caught.value
    assert (error.source, error.key) == (str(policy_file), "categories.mental_distress")
    assert error.reason == "is not scored by pack narrow; scored are violence"


def test_a_policy_of_which_nothing_would_be_judged_is_refused(policy_file, tmp_path):
    pack = write_pack(tmp_path / "shy", points=None)
    with pytest.raises(ConfigError, match="nothing is judged: all are advised against by pack shy"):
        load_checked_policy(policy_file, [str(pack)])


def test_a_category_the_pack_advises_against_in_one_role_is_off_there(policy_file, tmp_path):
    pack = write_pack(tmp_path / "half", points={"user": None, "assistant": {1: 0.3, 2: 0.5, 3: 0.9}})
    policy, _ = load_checked_policy(policy_file, [str(pack)])
    assert policy.categories["violence"].role(Role.USER) is None
    assert policy.categories["violence"].role(Role.ASSISTANT) is not None


def test_operating_points_that_make_no_sense_are_refused_and_no_crash(policy_file, tmp_path):
    pack = write_pack(tmp_path / "odd", points={1: 0.9, 2: 0.8, 3: 0.1})
    with pytest.raises(ConfigError, match="operating points of pack odd: thresholds must not fall"):
        load_checked_policy(policy_file, [str(pack)])


def test_a_pack_the_policy_names_and_nobody_has_is_the_policys_fault(policy_file):
    policy_file.write_text(f"pack: nosuchpack\n{POLICY}")
    with pytest.raises(ConfigError) as caught:
        load_checked_policy(policy_file)
    assert (caught.value.source, caught.value.key) == (str(policy_file), "pack")
    assert "nosuchpack" in caught.value.reason


def test_a_pack_asked_for_by_flag_and_not_there_is_a_pack_error(policy_file):
    with pytest.raises(PackError, match="nosuchpack"):
        load_checked_policy(policy_file, ["nosuchpack"])


def test_several_packs_score_for_one_policy(policy_file, tmp_path):
    """The thresholds of a category are those of the first pack that has any."""
    off = {role: {"violence": None, "mental_distress": POINTS} for role in ("user", "assistant")}
    first = write_pack(tmp_path / "a", categories=("violence", "mental_distress"), operating_points=off)
    second = write_pack(tmp_path / "b", points={1: 0.1, 2: 0.2, 3: 0.3})
    policy_file.write_text(f"packs: [{first}, {second}]\n{POLICY}")
    policy, packs = load_checked_policy(policy_file)
    assert [pack.name for pack in packs] == ["a", "b"]
    assert policy.categories["violence"].assistant.thresholds == {2: 0.2, 3: 0.3}
    assert policy.categories["mental_distress"].user.thresholds == {2: 0.5}


def test_a_category_none_of_the_packs_scores_is_refused(policy_file, tmp_path):
    narrow = [str(write_pack(tmp_path / name, categories=("violence",))) for name in ("a", "b")]
    with pytest.raises(ConfigError, match="is not scored by packs a, b; scored are violence"):
        load_checked_policy(policy_file, narrow)


def test_a_pack_of_several_that_nobody_has_is_the_policys_fault(policy_file, pack):
    policy_file.write_text(f"packs: [{pack}, nosuchpack]\n{POLICY}")
    with pytest.raises(ConfigError) as caught:
        load_checked_policy(policy_file)
    assert (caught.value.key, "nosuchpack" in caught.value.reason) == ("packs", True)


def test_a_bad_policy_is_refused_before_any_pack_is_looked_for(policy_file):
    policy_file.write_text(POLICY.replace("version: 1", "version: 9"))
    with pytest.raises(ConfigError, match="version"):
        load_checked_policy(policy_file, ["nosuchpack"])


@pytest.fixture
def engine(monkeypatch):
    engine, asked = FakeEngine(), []

    def load(packs, provider, *, gating, intra_op_threads, max_wait_s):
        asked.append((*(pack.name for pack in packs), provider, intra_op_threads, max_wait_s))
        return engine

    monkeypatch.setattr(wiring, "load_scorers", load)
    engine.asked = asked
    return engine


def test_a_process_gets_what_its_settings_say(policy_file, pack, engine):
    sidecar = assemble(
        Settings(policy=policy_file, packs=(str(pack),), provider="cpu", threads=3), environ={}, offline=True
    )
    assert engine.asked == [("toy", "cpu", 3, inf)]  # a file has time
    assert sidecar.services.policy.name == "small"
    assert sidecar.services.scorer is engine
    assert sidecar.telemetry is None
    sidecar.close()
    assert engine.closed


def test_a_serving_process_has_telemetry_and_closes_it(policy_file, pack, engine, tmp_path):
    settings = Settings(policy=policy_file, packs=(str(pack),), audit=str(tmp_path / "audit.jsonl"))
    sidecar = assemble(settings, environ={})
    assert sidecar.telemetry is not None
    assert sidecar.services.observer is sidecar.telemetry
    assert engine.asked == [("toy", "auto", 0, 0.5)]  # half the scoring deadline
    sidecar.close()


def test_an_engine_elsewhere_is_used_instead_of_a_classifier_here(policy_file, pack, engine):
    settings = Settings(policy=policy_file, packs=(str(pack),), engine="unix:/run/guardrail/engine.sock")
    sidecar = assemble(settings, environ={}, offline=True)
    assert engine.asked == []
    assert isinstance(sidecar.scorer, RemoteScorer)
    assert sidecar.services.scorer is sidecar.scorer
    assert sidecar.scorer.address == "unix:/run/guardrail/engine.sock"
    sidecar.close()


def test_certificates_for_the_engine_that_are_not_there_stop_the_start(policy_file, pack, engine, tmp_path):
    """Invariant 9."""
    settings = Settings(policy=policy_file, packs=(str(pack),), engine="10.0.0.7:50052", engine_tls=tmp_path)
    with pytest.raises(ConfigError, match=r"--engine-tls: .*tls\.key cannot be read"):
        assemble(settings, environ={}, offline=True)


def test_every_engine_of_several_packs_is_watched(tmp_path):
    """Patterns have no engine."""
    packs = [write_window_pack(tmp_path / name) for name in "ab"] + [write_lexical_pack(tmp_path / "c")]
    scorer = load_scorers([load_pack(pack) for pack in packs], "cpu", intra_op_threads=1)
    watched = []
    try:
        wiring.watch(SimpleNamespace(watch=lambda engine: watched.append(engine.pack.directory.name)), scorer)
    finally:
        scorer.close()
    assert watched == ["a", "b"]


def test_words_of_the_operators_own_are_looked_for_before_the_engine_is_loaded(
    policy_file, pack, engine, tmp_path
):
    settings = Settings(policy=policy_file, packs=(str(pack),), templates=tmp_path / "nowhere")
    with pytest.raises(ConfigError):
        assemble(settings, environ={}, offline=True)
    assert engine.asked == []
