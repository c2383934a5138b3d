from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest

from guardrail.core.composition import Resource
from guardrail.errors import ConfigError
from guardrail.observer import (
    FindingReported,
    InterventionApplied,
    ScoringFailed,
    SegmentScored,
    StreamEnded,
    StreamOpened,
    TextUnscanned,
)
from guardrail.telemetry.audit import AuditLog
from guardrail.telemetry.redaction import sha256

CONTEXT = {
    "schema": "1",
    "stream_id": "s1",
    "tenant": "acme",
    "policy": "default@3",
    "mode": "enforce",
    "transport": "ext_proc",
    "dialect": "chat_completions",
    "locale": "de-AT",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
def log(path, clock):
    log = AuditLog(str(path), clock=clock)
    yield log
    log.close()


def lines(path):
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_an_intervention_and_the_end_of_a_stream_are_a_line_each(log, path, whole_stream):
    for record in whole_stream:
        log.record(record)

    assert lines(path) == [
        CONTEXT
        | {
            "time": "2026-03-01T11:00:00.250Z",
            "event": "intervention",
            "lane": "0/content",
            "kind": "redirect",
            "category": "self_harm",
            "severity": 3,
            "score": 0.93,
            "at": 38,
            "enforced": True,
            "withheld_chars": 0,
            "wording": "self_harm/redirect#2",
            "resources": ["at-142"],
            "inserted_chars": 36,
            "inserted_sha256": sha256("You do not have to carry this alone."),
            "time_held_s": 0.02,
            "rationale": "floor of self_harm at severity 3",
        },
        CONTEXT
        | {
            "time": "2026-03-01T11:00:01.250Z",
            "event": "stream",
            "outcome": "intervened",
            "lanes": 1,
            "arrived_chars": 100,
            "released_chars": 90,
            "withheld_chars": 10,
            "inserted_chars": 36,
            "exposure_chars": 0,
            "unscanned_chars": {"image": 7},
            "findings": {"self_harm": 1},
            "scoring_failures": {"late": 1},
            "interventions": 1,
            "duration_s": 2.5,
        },
    ]


def test_a_line_is_on_disk_when_record_returns(log, path, make):
    log.record(make(InterventionApplied))

    assert len(lines(path)) == 1


def test_annotations_and_observed_interventions_are_lines_too(log, path, make):
    log.record(make(InterventionApplied, kind="annotate", text="", resources=()))
    log.record(make(InterventionApplied, enforced=False))

    annotated, observed = lines(path)
    assert (annotated["kind"], annotated["inserted_chars"], annotated["inserted_sha256"]) == (
        "annotate",
        0,
        None,
    )
    assert observed["enforced"] is False


def test_other_records_write_nothing(log, path, make):
    for kind in (StreamOpened, FindingReported, ScoringFailed, SegmentScored, TextUnscanned):
        log.record(make(kind))

    assert path.read_text() == ""


def test_a_stream_whose_opening_was_not_seen_still_has_its_lines(log, path, make):
    log.record(make(FindingReported))
    log.record(make(InterventionApplied))
    log.record(make(StreamEnded))

    for line in lines(path):
        assert line["stream_id"] == "s1"
        assert "policy" not in line


def test_words_nobody_knows_do_not_get_in(log, path, make):
    log.record(make(StreamEnded, unscanned={"a sentence": 3, "another one": 4, "image": 5}, outcome="oh no"))

    [line] = lines(path)
    assert line["unscanned_chars"] == {"other": 7, "image": 5}
    assert line["outcome"] == "other"


def test_nothing_from_outside_breaks_a_line(log, path, make):
    evil = 'x"}\n{"event":"intervention\u2028'
    lone_surrogate = json.loads('"\\ud83d"')
    log.record(make(StreamOpened, stream_id=evil, tenant=evil, policy=evil, locale=lone_surrogate))
    log.record(make(InterventionApplied, stream_id=evil, text=lone_surrogate, rationale=evil))

    [line] = lines(path)
    assert line["stream_id"].startswith("sha256:")
    assert line["rationale"] == evil


def test_it_appends_and_only_its_owner_may_read(path, make):
    for _ in range(2):
        log = AuditLog(str(path))
        log.record(make(InterventionApplied))
        log.close()

    assert len(lines(path)) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_processes_may_share_a_file(path, make):
    logs = [AuditLog(str(path)), AuditLog(str(path))]
    for n in range(50):
        logs[n % 2].record(make(InterventionApplied, rationale="r" * 5000))

    assert len(lines(path)) == 50
    for log in logs:
        log.close()


def test_standard_output(capfd, make):
    log = AuditLog("-")
    log.record(make(InterventionApplied))
    log.close()
    print("still open")

    first, second = capfd.readouterr().out.splitlines()
    assert json.loads(first)["event"] == "intervention"
    assert second == "still open"


class TestFaults:
    @pytest.mark.parametrize("path", ["missing/audit.jsonl", "", "nul\0byte"])
    def test_a_path_that_cannot_be_written_stops_the_start(self, tmp_path, path):
        with pytest.raises(ConfigError, match=r"^--audit: cannot append to ") as caught:
            AuditLog(f"{tmp_path}/{path}", source="--audit")

        assert caught.value.source == "--audit"

    def test_a_write_error_is_counted_and_logged_once(self, make, caplog):
        log = AuditLog("/dev/full")
        with caplog.at_level(logging.DEBUG):
            for _ in range(3):
                log.record(make(InterventionApplied))

        assert log.errors == 3
        assert [record.getMessage() for record in caplog.records] == [
            "audit log /dev/full: No space left on device; further errors are only counted"
        ]
        log.close()

    def test_a_record_after_the_end_is_an_error_and_no_more(self, log, path, make):
        log.close()
        log.record(make(InterventionApplied))

        assert log.errors == 1
        assert path.read_text() == ""

    def test_a_line_cut_short_does_not_swallow_the_next(self, log, path, make, monkeypatch):
        class Full:
            """A disk with room for ten bytes."""

            def write(self, data):
                return log_file.write(data[:10])

        log_file = log._file
        monkeypatch.setattr(log, "_file", Full())
        log.record(make(InterventionApplied))
        monkeypatch.setattr(log, "_file", log_file)
        log.record(make(InterventionApplied))
        log.record(make(InterventionApplied))

        broken, *whole = path.read_text().splitlines()
        assert len(broken) == 10
        assert [json.loads(line)["event"] for line in whole] == ["intervention"] * 2
        assert log.errors == 1


class TestRotation:
    def test_reopen_follows_the_path(self, log, path, make):
        log.record(make(InterventionApplied, kind="redirect"))
        moved = path.rename(path.with_suffix(".1"))
        log.record(make(InterventionApplied, kind="rewrite"))
        log.reopen()
        log.record(make(InterventionApplied, kind="replace"))

        assert [line["kind"] for line in lines(moved)] == ["redirect", "rewrite"]
        assert [line["kind"] for line in lines(path)] == ["replace"]

    def test_if_it_fails_the_old_file_stays_in_use(self, log, path, make):
        moved = path.rename(path.with_suffix(".1"))
        Path(path).mkdir()
        log.reopen()
        log.record(make(InterventionApplied))

        assert log.errors == 1
        assert len(lines(moved)) == 1

    def test_standard_output_may_be_reopened(self, capfd, make):
        log = AuditLog("-")
        log.reopen()
        log.record(make(InterventionApplied))
        log.close()

        assert json.loads(capfd.readouterr().out)["event"] == "intervention"


def test_an_observed_resource_is_named_by_its_id_alone(log, path, make):
    log.record(make(InterventionApplied, resources=(Resource("us-988", "Lifeline", "US", "988"),)))

    assert "Lifeline" not in path.read_text()
    assert lines(path)[0]["resources"] == ["us-988"]
