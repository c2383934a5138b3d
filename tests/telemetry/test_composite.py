from __future__ import annotations

import logging

from guardrail.telemetry.composite import CompositeObserver


class Notebook:
    def __init__(self):
        self.records = []

    def record(self, record):
        self.records.append(record)


class Sulking:
    def record(self, record):
        raise ValueError("quoting: I feel awful")


def test_every_observer_gets_every_record_in_order(whole_stream):
    first, second = Notebook(), Notebook()
    composite = CompositeObserver([first, second])
    for record in whole_stream:
        composite.record(record)

    assert first.records == second.records == whole_stream


def test_an_observer_that_raises_breaks_nothing(whole_stream):
    before, after = Notebook(), Notebook()
    composite = CompositeObserver([before, Sulking(), after])
    for record in whole_stream:
        composite.record(record)

    assert before.records == after.records == whole_stream
    assert composite.errors == len(whole_stream)


def test_it_is_dropped_for_that_record_only(whole_stream):
    class Moody(Notebook):
        def record(self, record):
            if record is whole_stream[0]:
                raise RuntimeError
            super().record(record)

    moody = Moody()
    composite = CompositeObserver([moody])
    for record in whole_stream:
        composite.record(record)

    assert moody.records == whole_stream[1:]
    assert composite.errors == 1


def test_it_is_logged_once_and_without_the_message(whole_stream, caplog):
    composite = CompositeObserver([Sulking(), Sulking()])
    with caplog.at_level(logging.DEBUG):
        for record in whole_stream:
            composite.record(record)

    assert len(caplog.records) == 2  # once an observer
    assert "Sulking lost a StreamOpened record: ValueError at test_composite.py:" in caplog.text
    assert "awful" not in caplog.text


def test_no_observer_at_all_is_fine(whole_stream):
    CompositeObserver([]).record(whole_stream[0])
