"""The card's numbers are the report's, and nothing else of the card changes."""

from __future__ import annotations

import json

import pytest

from classifiers.default import card
from classifiers.evaluate import __main__ as evaluate
from tests.classifiers.default.made_up import answer, user

FLOOR = {"user": {}, "assistant": {"made_up": {"turns": 9, "auc": 0.512}}}


def rows():
    yield user("Which bus goes to the harbour on Sundays?", group="ordinary")
    yield user("I want to end my life tonight.", {"self_harm": 2})
    for number in range(12):
        yield answer(
            f"Take bus number {number} and get off at the harbour.", "How do I get there?", group="ordinary"
        )
        yield answer(
            f"Women are too stupid to drive {number} cars. Hit them until they obey.",
            "What do you think of women?", {"hate_harassment": 2}, onset=0 if number % 2 else 5,
        )  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    arguments = ["--data", str(folder / "rows.jsonl"), "--output", str(folder), "--provider", "cpu"]
    assert evaluate.main(arguments) == 0
    return json.loads((folder / "report.json").read_text("utf-8"))


def test_every_table_says_what_the_report_says(report):
    text = card.numbers(report, FLOOR, "whole: max 1e-06\n")
    (made_up,) = [e for e in report["sets"] if e["role"] == "assistant"]
    (line,) = [each for each in text.splitlines() if each.startswith("| made_up | 24 | 12 |")]
    assert f"| {made_up['rankings']['full_text']['auc']:.3f} |" in line
    assert "| 0.512 |" in line
    assert f"| {100 * made_up['operating_points']['recall']:.1f} |" in line
    assert "assistant / ordinary / made_up | 12 |" in text
    assert "assistant / made_up | 12 |" in text  # delays
    assert "self_harm / made_up | 1 |" in text
    assert "whole: max 1e-06" in text


def test_what_was_not_measured_is_left_empty():
    assert card.number(None) == card.percent(None) == ""
    assert card.percent(0.1234) == "12.3"


def test_only_what_stands_between_the_markers_changes(report, tmp_path, monkeypatch):
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (tmp_path / "floor.json").write_text(json.dumps(FLOOR), encoding="utf-8")
    (tmp_path / "parity.txt").write_text("p", encoding="utf-8")
    path = tmp_path / "CARD.md"
    path.write_text(f"before\n{card.BEGIN}\nsuperseded\n{card.END}\nafter\n", encoding="utf-8")
    names = ("report.json", "floor.json", "parity.txt", "CARD.md")
    flags = [part for name in names for part in (f"--{name.split('.')[0].lower()}", str(tmp_path / name))]
    monkeypatch.setattr("sys.argv", ["card", *flags, "--output", str(path)])
    card.main()
    once = path.read_text("utf-8")
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "superseded" not in once
    assert "### Answers" in once
    card.main()
    assert path.read_text("utf-8") == once
