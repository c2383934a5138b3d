"""``StreamReporter``: what one guarded stream tells the observer, and the counts it ends with.

It turns what the driver does into ``observer`` records. No text passes through it but our own
(invariant 8), and nothing it does changes the stream.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from guardrail import observer as records
from guardrail.core.verdicts import FailureStance, Finding
from guardrail.transports.outputs import Intervention, StreamClosed, StreamOpening


@dataclass(frozen=True, slots=True)
class Totals:
    """Code points over all lanes of a stream."""

    lanes: int
    arrived: int
    released: int
    inserted: int


class StreamReporter:
    """Reports one stream.

    Args:
        observer: who is told.
        opening: the stream.
        clock: seconds, monotonic.
    """

    def __init__(
        self, observer: records.Observer, opening: StreamOpening, clock: Callable[[], float]
    ) -> None:
        self._observer = observer
        self._opening = opening
        self._clock = clock
        self._began = clock()
        self._found_at: dict[str, float] = {}  # category to when it was first found
        self._interventions = 0
        self._exposure = 0
        self._unscanned: Counter[str] = Counter()

    def opened(self, policy: str, mode: str, locale: str) -> None:
        """The stream began."""
        opening = self._opening
        self._observer.record(
            records.StreamOpened(
                opening.stream_id,
                opening.transport,
                opening.dialect,
                opening.tenant,
                policy,
                mode,
                locale,
            ),
        )

    def scored(self, lane: str, tokens: int, chars: int, began: float) -> None:
        """A piece of text came back from the scorer, to whom it went at ``began``."""
        latency_s = self._clock() - began
        self._observer.record(records.SegmentScored(self._opening.stream_id, lane, tokens, chars, latency_s))

    def found(self, lane: str, finding: Finding, *, released: int) -> None:
        """A finding; ``released`` code points of its lane had reached the client by then."""
        span = finding.span
        self._found_at.setdefault(finding.category, self._clock())
        self._exposure += max(0, min(released, span.end) - span.start)
        self._observer.record(
            records.FindingReported(
                self._opening.stream_id,
                lane,
                finding.role.value,
                finding.category,
                finding.severity,
                finding.score,
                span.start,
                span.end,
            ),
        )

    def intervened(self, lane: str, done: Intervention) -> None:
        """An intervention was applied, or in observe mode would have been."""
        self._interventions += 1
        now = self._clock()
        self._observer.record(
            records.InterventionApplied(
                self._opening.stream_id,
                lane,
                done.kind,
                done.category,
                done.severity,
                done.score,
                done.at,
                done.text,
                done.wording,
                done.resources,
                done.rationale,
                done.enforced,
                now - self._found_at.get(done.category, now),
                done.withheld,
            ),
        )

    def failed(self, lane: str, reason: str, stance: FailureStance, chars: int) -> None:
        """Text could not be scored, and this stance was followed."""
        self._observer.record(
            records.ScoringFailed(self._opening.stream_id, lane, reason, stance.value, chars)
        )

    def unscanned(self, what: str, chars: int) -> None:
        """Text went by that nobody scored."""
        if chars > 0:
            self._unscanned[what] += chars
            self._observer.record(records.TextUnscanned(self._opening.stream_id, what, chars))

    def ended(self, outcome: str, totals: Totals) -> StreamClosed:
        """The stream ended; the output that says so."""
        withheld = totals.arrived - totals.released
        unscanned = dict(self._unscanned)
        self._observer.record(
            records.StreamEnded(
                self._opening.stream_id,
                outcome,
                totals.lanes,
                totals.arrived,
                totals.released,
                withheld,
                totals.inserted,
                self._interventions,
                unscanned,
                self._clock() - self._began,
                self._exposure,
            ),
        )
        return StreamClosed(outcome, totals.arrived, totals.released, withheld, totals.inserted, unscanned)
