from __future__ import annotations

import asyncio

from guardrail.transports.mailbox import Mailbox
from guardrail.transports.tasks import spawn


async def test_all_that_waits_is_taken_at_once_and_in_order():
    box = Mailbox()
    box.put(1)
    box.put(2)
    assert await box.take() == [1, 2]
    assert box.take_waiting() == []


async def test_a_reader_sleeps_until_something_comes_and_gets_what_gathered_meanwhile():
    box = Mailbox()
    reader = spawn(box.take(), name="reader")
    await asyncio.sleep(0)
    assert not reader.done()
    box.put("a")
    box.put("b")
    assert await reader == ["a", "b"]


async def test_a_reader_that_left_takes_nothing_along():
    box = Mailbox()
    reader = spawn(box.take(), name="reader")
    await asyncio.sleep(0)
    box.put("kept")
    reader.cancel()
    await asyncio.wait([reader])
    assert box.take_waiting() == ["kept"]


async def test_what_waits_may_be_added_to():
    box = Mailbox()
    box.put(bytearray(b"some"))
    box.waiting[-1] += b"thing"
    assert await box.take() == [b"something"]
