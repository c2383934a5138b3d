"""What the core asks of interventions, and what it gets back: plain data both sides understand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from guardrail.core.verdicts import Decision


@dataclass(frozen=True, slots=True)
class CompositionRequest:
    """Everything a composer may use to find the words of one intervention."""

    decision: Decision
    locale: str = ""
    """BCP 47 tag of the user ("de-AT"), or "" when unknown; its region is the user's country."""
    conversation_id: str = ""
    """Stable within a conversation, so that wordings can vary between conversations."""
    earlier_inserts: int = 0
    """How many turns of the conversation carry words of ours, where the caller knows of more than
    ``earlier_texts`` show."""
    earlier_texts: Sequence[str] = field(default=())
    """The assistant's earlier turns, so that a wording already used there is not repeated."""
    at_start: bool = False
    """Nothing was released before: the insert opens the answer."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A place where help is, as it was offered to the user."""

    id: str
    """Stable id in the resource catalogue, e.g. "us-988"."""
    name: str
    country: str
    """ISO 3166-1 alpha-2, or "" for international."""
    contact: str
    """Phone, text, chat or web, as shown."""


@dataclass(frozen=True, slots=True)
class Composition:
    """The words of one intervention."""

    text: str
    """Plain Markdown-safe sentences without leading or trailing white space."""
    wording: str
    """Id of the template and its variant, for the audit record."""
    resources: Sequence[Resource] = field(default=())
