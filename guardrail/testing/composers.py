"""``PlainComposer``: words for tests that are about something else than words."""

from __future__ import annotations

from guardrail.core.composition import Composition, CompositionRequest


class PlainComposer:
    """Says which intervention stands here, nothing more."""

    def compose(self, request: CompositionRequest) -> Composition:
        """A fixed sentence that names kind and category."""
        decision = request.decision
        words = f"[{decision.kind.label} {decision.finding.category}]"
        return Composition(words, f"plain/{decision.kind.label}/{decision.finding.category}")
