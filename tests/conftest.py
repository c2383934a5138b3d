"""What every test of this repository gets."""

from __future__ import annotations

import logging

import pytest
from hypothesis import settings

# A deadline for each example would be a clock in the assertion: on a busy machine it fails what is right.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """Commands set up their process's logging; here they share a process with every other test."""
    loggers = [logging.getLogger(name) for name in (None, "guardrail")]
    before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers
