from __future__ import annotations

import asyncio
import json
import logging
import re
import warnings

import pytest

from guardrail.errors import ConfigError, InputError
from guardrail.telemetry.logs import configure_logging, describe

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ours = logging.getLogger("guardrail.transports")


def caught(error):
    with pytest.raises(type(error)) as raised:
        raise error
    return raised.value


def test_json_is_one_object_a_line(log_output):
    configure_logging("info", "json", stream=log_output)
    ours.info("serving on %s", "127.0.0.1:50051")
    ours.warning("two\nlines")

    first, second = map(json.loads, log_output.getvalue().splitlines())
    assert TIME.fullmatch(first.pop("time"))
    assert first == {
        "level": "info",
        "logger": "guardrail.transports",
        "message": "serving on 127.0.0.1:50051",
    }
    assert second["message"] == "two\nlines"


def test_text_is_one_line_a_message(log_output):
    configure_logging("info", "text", stream=log_output)
    ours.warning("two\nlines")

    [line] = log_output.getvalue().splitlines()
    time, rest = line.split(" ", 1)
    assert TIME.fullmatch(time)
    assert rest == r"WARNING guardrail.transports: two\nlines"


def test_the_level_is_ours_and_libraries_stay_quiet(log_output):
    configure_logging("debug", "text", stream=log_output)
    ours.debug("ours")
    logging.getLogger("httpx").info("POST with a body")
    logging.getLogger("asyncio").debug("chatter")
    logging.getLogger("grpc").error("theirs, and serious")

    assert "ours" in log_output.getvalue()
    assert "serious" in log_output.getvalue()
    assert len(log_output.getvalue().splitlines()) == 2


def test_configuring_again_replaces(log_output):
    configure_logging("info", "text", stream=log_output)
    configure_logging("error", "json", stream=log_output)
    ours.warning("no")
    ours.error("yes")

    [line] = log_output.getvalue().splitlines()
    assert json.loads(line)["message"] == "yes"


def test_warnings_are_logged(log_output):
    configure_logging("info", "json", stream=log_output)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)  # catch_warnings put its own display in place
        logging.captureWarnings(capture=True)
        warnings.warn("deprecated", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)

    assert json.loads(log_output.getvalue())["logger"] == "py.warnings"


@pytest.mark.parametrize(
    ("level", "form", "key"),
    [("loud", "json", "level"), ("INFO", "json", "level"), ("info", "xml", "format")],
)
def test_bad_settings_stop_the_start(log_output, level, form, key):
    with pytest.raises(ConfigError) as caught:
        configure_logging(level, form, stream=log_output)

    assert caught.value.key == key


class TestExceptions:
    @pytest.mark.parametrize("form", ["json", "text"])
    def test_a_foreign_message_is_left_out(self, log_output, form):
        configure_logging("info", form, stream=log_output)
        try:
            {}["I feel awful"]
        except KeyError:
            ours.exception("looking up failed")

        [line] = log_output.getvalue().splitlines()
        assert "awful" not in line
        assert "KeyError" in line
        assert re.search(r"test_logs\.py:\d+ test_a_foreign_message_is_left_out", line)

    def test_unless_the_operator_wants_it(self, log_output):
        configure_logging("info", "text", stream=log_output, capture=True)
        ours.error("failed", exc_info=caught(ValueError("I feel awful")))

        assert "ValueError: I feel awful at" in log_output.getvalue()

    def test_our_own_and_the_systems_messages_stay(self):
        [ours] = describe(caught(InputError("f.jsonl:3", "no id")))
        [theirs] = describe(caught(FileNotFoundError(2, "No such file or directory", "I feel awful")))

        assert ours["message"] == "f.jsonl:3: no id"
        assert theirs["message"] == "No such file or directory"

    def test_causes_and_groups_are_followed(self):
        inner = caught(ValueError("secret"))
        outer = RuntimeError("secret")
        outer.__cause__ = inner
        group = ExceptionGroup("secret", [outer, TypeError("secret")])

        parts = list(describe(caught(group)))

        assert [part["type"] for part in parts] == [
            "ExceptionGroup",
            "RuntimeError",
            "TypeError",
            "ValueError",
        ]
        assert "secret" not in json.dumps(parts)

    def test_suppressed_context_is_not(self):
        error = ValueError()
        error.__context__ = KeyError()
        error.__suppress_context__ = True

        assert [part["type"] for part in describe(error)] == ["ValueError"]

    def test_a_ring_of_causes_ends(self):
        first, second = ValueError(), TypeError()
        first.__context__, second.__context__ = second, first

        assert [part["type"] for part in describe(first)] == ["ValueError", "TypeError"]

    def test_a_crashed_task_does_not_quote(self, log_output):
        configure_logging("info", "text", stream=log_output)

        async def crash():
            loop = asyncio.get_running_loop()
            loop.call_exception_handler(
                {"message": "crashed", "exception": caught(ValueError("I feel awful"))}
            )

        asyncio.run(crash())

        assert "ValueError" in log_output.getvalue()
        assert "awful" not in log_output.getvalue()
