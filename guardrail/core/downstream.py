"""``Downstream``: what the client reads of one lane, and in which order.

Rule 1: text leaves up to the first insert in line, whose words come before anything behind it.
Rule 2: a mask waits until all of its span may leave, so that spans which overlap become one.
Rule 3: one ``ComposeInsert`` is out at a time.

This file does not know why text may leave, nor why an insert stands in line.
"""

from __future__ import annotations

from guardrail.core.commands import Command, ComposeInsert, InsertText, ReleaseText, WithholdText
from guardrail.core.composition import Composition
from guardrail.core.holdback import HoldBack
from guardrail.core.inserts import Insert, InsertQueue
from guardrail.core.masks import Masks
from guardrail.core.splice import ClientView


class Downstream:
    """The way of one lane's text, and of our words, to the client."""

    def __init__(self, text: HoldBack, inserts: InsertQueue, masks: Masks) -> None:
        self._text = text
        self._inserts = inserts
        self._masks = masks
        self._view = ClientView()  # what the client reads, inserts included

    def release(self, limit: int) -> list[Command]:
        """Release what may leave, up to the first insert that still wants its words.

        Args:
            limit: up to where text may leave; it is cleared.
        """
        commands: list[Command] = []
        while True:
            first = self._inserts.first
            end = limit if first is None else min(limit, first.at)
            if end > self._text.released:
                span, text = self._text.release(end)
                self._view.read(text)
                self._masks.released(text)
                commands.append(ReleaseText(span, text))
            if first is None or (first.is_mask and limit < first.until):
                return commands
            if not first.silent:
                if not first.asked:
                    first.asked = True
                    commands.append(ComposeInsert(first.decision, first.at, at_start=self._view.empty))
                return commands
            self._inserts.take()
            commands.append(self._withhold(first))

    def insert(self, insert: Insert, composition: Composition) -> list[Command]:
        """The words of the first insert in line are there."""
        self._inserts.take()
        text = insert.joined(composition.text, self._view)
        self._view.read(text)
        wording, resources = composition.wording, composition.resources
        told = InsertText(insert.decision, insert.at, text, wording, resources, insert.withheld)
        return [told, self._withhold(insert)] if insert.is_mask else [told]

    def _withhold(self, mask: Insert) -> WithholdText:
        span, text = self._text.withhold(mask.until)
        self._masks.withheld(span, text)
        return WithholdText(span)
