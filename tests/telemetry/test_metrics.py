from __future__ import annotations

import pytest

from guardrail.core.composition import Resource
from guardrail.observer import (
    EngineLost,
    EngineReached,
    FindingReported,
    InterventionApplied,
    ScoringFailed,
    SegmentScored,
    StreamEnded,
    StreamOpened,
    TextUnscanned,
)
from guardrail.telemetry.bounds import MAX_LABEL_VALUES, OpenStreams
from guardrail.telemetry.metrics import MetricsObserver


@pytest.fixture
def observer(metrics):
    return MetricsObserver(metrics.provider)


def labels(**pairs):
    return frozenset(pairs.items())


def test_a_stream_is_counted_once_when_it_ends(metrics, observer, whole_stream):
    for record in whole_stream[:-1]:
        observer.record(record)
    assert metrics.points("guardrail.streams") == {}

    observer.record(whole_stream[-1])

    where = {"transport": "ext_proc", "dialect": "chat_completions"}
    assert metrics.points("guardrail.streams") == {labels(**where, outcome="intervened"): 1}
    assert metrics.points("guardrail.stream.duration") == {labels(**where, outcome="intervened"): (1, 2.5)}


def test_active_streams_return_to_zero(metrics, observer, make):
    observer.record(make(StreamOpened, stream_id="a"))
    observer.record(make(StreamOpened, stream_id="b"))
    assert metrics.total("guardrail.active.streams") == 2

    observer.record(make(StreamEnded, stream_id="a"))
    observer.record(make(StreamEnded, stream_id="b"))
    observer.record(make(StreamEnded, stream_id="b"))

    assert metrics.total("guardrail.active.streams") == 0
    assert metrics.total("guardrail.streams") == 3


def test_active_streams_survive_repeated_ids_and_lost_ends(metrics, observer, make):
    observer._open = OpenStreams(limit=2)
    for stream_id in ("a", "a", "b", "c"):
        observer.record(make(StreamOpened, stream_id=stream_id))

    assert metrics.total("guardrail.active.streams") == 2


def test_the_end_of_an_unknown_stream_is_counted_as_such(metrics, observer, make):
    observer.record(make(StreamEnded, stream_id="never seen"))

    assert metrics.points("guardrail.streams") == {
        labels(transport="unknown", dialect="unknown", outcome="intervened"): 1
    }


def test_findings_interventions_and_failures_carry_their_labels(metrics, observer, make):
    observer.record(make(FindingReported))
    observer.record(make(InterventionApplied))
    observer.record(make(InterventionApplied, enforced=False))
    observer.record(make(ScoringFailed))

    assert metrics.points("guardrail.findings") == {
        labels(role="assistant", category="self_harm", severity=3): 1
    }
    what = {"kind": "redirect", "category": "self_harm", "severity": 3}
    assert metrics.points("guardrail.interventions") == {
        labels(**what, enforced=True): 1,
        labels(**what, enforced=False): 1,
    }
    assert metrics.points("guardrail.intervention.delay") == {labels(kind="redirect"): (1, 0.02)}
    assert metrics.points("guardrail.scoring.failures") == {labels(reason="late", stance="hold"): 1}


def test_overload_is_counted_in_streams_once_each_and_in_characters(metrics, observer, make):
    for stream_id in ("a", "b", "c"):
        observer.record(make(StreamOpened, stream_id=stream_id))
    for stream_id, reason, stance in (
        ("a", "late", "pass"),
        ("a", "overload", "pass"),
        ("b", "overload", "pass"),
        ("b", "overload", "redirect"),
        ("c", "error", "pass"),  # broken, not slow
    ):
        observer.record(make(ScoringFailed, stream_id=stream_id, reason=reason, stance=stance, chars=10))

    assert metrics.points("guardrail.overload.streams") == {
        labels(stance="pass"): 2,
        labels(stance="redirect"): 1,
    }
    assert metrics.points("guardrail.overload.chars") == {
        labels(stance="pass"): 30,
        labels(stance="redirect"): 10,
    }


def test_scoring_is_measured_without_labels(metrics, observer, make):
    observer.record(make(SegmentScored, lane="0/content"))
    observer.record(make(SegmentScored, lane="1/content", latency_s=0.006, tokens=3))

    assert metrics.points("guardrail.scoring.duration") == {labels(): (2, pytest.approx(0.01))}
    assert metrics.points("guardrail.scored.tokens") == {labels(): 8}


def test_characters_are_counted_by_their_fate(metrics, observer, make):
    observer.record(make(TextUnscanned, what="image", chars=7))
    observer.record(make(TextUnscanned, what="reasoning", chars=50))
    observer.record(make(StreamEnded))

    assert metrics.points("guardrail.unscanned.chars") == {
        labels(what="image"): 7,
        labels(what="reasoning"): 50,
    }
    assert metrics.points("guardrail.chars") == {
        labels(state="arrived"): 100,
        labels(state="released"): 90,
        labels(state="withheld"): 10,
        labels(state="inserted"): 36,
    }


@pytest.mark.parametrize("exposure_chars", [0, 12])
def test_exposure_is_measured_in_observe_mode(metrics, observer, make, exposure_chars):
    observer.record(make(StreamOpened, mode="observe"))
    observer.record(make(StreamEnded, exposure_chars=exposure_chars))

    assert metrics.points("guardrail.exposure.chars") == {labels(): (1, exposure_chars)}


def test_no_exposure_in_enforce_mode_is_not_a_measurement(metrics, observer, make):
    observer.record(make(StreamOpened, mode="enforce"))
    observer.record(make(StreamEnded, exposure_chars=0))

    assert metrics.points("guardrail.exposure.chars") == {}


def test_exposure_in_enforce_mode_is_a_fault_that_shows(metrics, observer, make):
    observer.record(make(StreamOpened, mode="enforce"))
    observer.record(make(StreamEnded, exposure_chars=3))

    assert metrics.points("guardrail.exposure.chars") == {labels(): (1, 3)}


class TestReferrals:
    def resources(self, *countries):
        return tuple(Resource(f"r{n}", "name", country, "contact") for n, country in enumerate(countries))

    @pytest.mark.parametrize(
        ("countries", "expected"),
        [(("AT", "", "DE"), "AT"), (("", "US"), "US"), (("",), "international")],
    )
    def test_one_intervention_counts_once(self, metrics, observer, make, countries, expected):
        observer.record(make(InterventionApplied, resources=self.resources(*countries)))

        assert metrics.points("guardrail.referrals") == {labels(country=expected, category="self_harm"): 1}

    def test_without_a_resource_there_is_no_referral(self, metrics, observer, make):
        observer.record(make(InterventionApplied, resources=()))

        assert metrics.total("guardrail.referrals") == 0

    def test_what_reached_nobody_is_no_referral(self, metrics, observer, make):
        observer.record(make(InterventionApplied, enforced=False))

        assert metrics.total("guardrail.referrals") == 0

    def test_no_identifier_is_kept(self, metrics, make):
        observer = MetricsObserver(metrics.provider, tenants=["acme"])
        observer.record(make(StreamOpened, tenant="acme"))
        observer.record(make(InterventionApplied))

        [point] = metrics.points("guardrail.referrals")
        assert {name for name, _ in point} == {"country", "category"}


class TestEngine:
    def test_losses_are_counted_and_whether_one_is_there_now_is_seen(self, metrics, observer, make):
        observer.record(make(EngineReached, provider="cuda"))
        assert metrics.total("guardrail.engines", scorer="default/2026.1", provider="cuda") == 1
        observer.record(make(EngineLost, provider="cuda", reason="unavailable"))
        assert metrics.total("guardrail.engines") == 0
        assert metrics.total("guardrail.engine.losses", reason="unavailable") == 1
        observer.record(make(EngineReached, provider="cpu", away_s=3.0))
        assert metrics.total("guardrail.engines", provider="cpu") == 1
        assert metrics.total("guardrail.engine.losses") == 1


class TestCardinality:
    def test_stream_ids_and_policies_never_become_labels(self, metrics, observer, make):
        for n in range(5):
            observer.record(
                make(StreamOpened, stream_id=f"id-{n}", policy=f"policy-{n}", tenant=f"tenant-{n}")
            )
            observer.record(make(StreamEnded, stream_id=f"id-{n}"))

        collected = metrics.reader.get_metrics_data().to_json()
        for word in ("id-", "policy-", "tenant-"):
            assert word not in collected

    def test_listed_tenants_are_named_and_others_lumped_together(self, metrics, make):
        observer = MetricsObserver(metrics.provider, tenants=["acme"])
        for n, tenant in enumerate(["acme", "globex", "initech"]):
            observer.record(make(StreamOpened, stream_id=f"s{n}", tenant=tenant))
            observer.record(make(InterventionApplied, stream_id=f"s{n}"))
            observer.record(make(StreamEnded, stream_id=f"s{n}"))

        for name in ("guardrail.streams", "guardrail.interventions"):
            assert metrics.total(name, tenant="acme") == 1
            assert metrics.total(name, tenant="other") == 2

    def test_a_flood_of_values_ends_as_other(self, metrics, observer, make):
        for n in range(3 * MAX_LABEL_VALUES):
            observer.record(make(TextUnscanned, what=f"what-{n}", chars=1))

        assert len(metrics.points("guardrail.unscanned.chars")) == MAX_LABEL_VALUES + 1
        assert metrics.total("guardrail.unscanned.chars") == 3 * MAX_LABEL_VALUES
