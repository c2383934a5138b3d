"""The stream of ``POST /v1/chat/completions``: events in one queue, each waiting for the text it carries.

Rule 1: an event leaves, byte for byte, when every text in it was released, every lane it finishes was
closed, and every event before it has left.
Rule 2: bytes of our own are written for these reasons only: words of ours are a chunk, and name the role
in the upstream's place where they come first; an event is cut in two where they come inside its text; an
event loses what must not leave, which is what a lane withheld, at its end or for words of ours, and all of
a lane that an intervention closed; such a lane gets a finish chunk; a stream that interventions ended gets usage and ``[DONE]``.
Rule 3: what is ours stands in the queue like everything else. It never pushes out what is held on
another lane, and waits where that lane's text stands before it.

Text is decided on elsewhere. This file does not know what a score is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from guardrail.wire import jsontext
from guardrail.wire.chat_fields import (
    ENVELOPE,
    count_unknown,
    lane_index,
    lane_name,
    text_of,
    unscanned_beside,
    unscanned_in,
)
from guardrail.wire.chat_repeats import Repeats
from guardrail.wire.chat_runs import Run
from guardrail.wire.chat_share import Lane, Share
from guardrail.wire.dialect import LaneFinished, LaneText, Unscanned, WireEvent
from guardrail.wire.sse import MAX_EVENT_BYTES, SseDecoder, SseEvent, encode_event

_DONE = "[DONE]"
_EVENT_END = b"\n\n"
_TURNS = 8
"""Runs that are looked for in one piece of the upstream's bytes; in what is left, events are read one by one."""


@dataclass(slots=True, eq=False)
class _Item:
    """One place in the queue: an event of the upstream, or of ours."""

    raw: bytes
    payload: Mapping[str, Any] = field(default_factory=dict)
    shares: list[Share] = field(default_factory=list)
    verbatim: bool = True
    """``raw`` is the upstream's own bytes."""
    terminated: bool = True
    """``raw`` ends with a blank line."""
    growing: bool = False
    """An oversized event whose end has not come."""
    dropped: bool = False
    """It left the queue unsent; what it still grows by is nobody's."""
    last: bool = False
    """It ends the answer as a whole: usage or ``[DONE]`` after the lanes; waits until all are closed."""
    done: bool = False
    usage: bool = False
    opaque: bool = False
    """It may carry text of any lane, unread; dropped once an intervention has closed one."""
    error: bool = False
    """The upstream's own error; dropped once interventions have closed all lanes."""
    run: Run | None = None
    """Many events instead of one; ``raw`` is empty, and the share has no choice."""


class ChatCompletionsStream:
    """One streamed answer under guard; implements ``dialect.ResponseStream``.

    Args:
        stream_id: names the stream in a chunk that must be written before the upstream wrote one.
        created: Unix time for such a chunk.
        model: the model for such a chunk.
        include_usage: the client asked for a usage chunk at the end.
        prompt_tokens: an estimate of the prompt's length, used only where the upstream was stopped before
            it said what it counted.
        max_event_bytes: a larger event is passed on unread and reported.
    """

    def __init__(
        self,
        *,
        stream_id: str = "",
        created: int = 0,
        model: str = "",
        include_usage: bool = False,
        prompt_tokens: int = 0,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._max_event_bytes = max_event_bytes
        self._decoder = SseDecoder(max_event_bytes)
        self._lanes: dict[str, Lane] = {}
        self._queue: deque[_Item] = deque()
        self._growing: _Item | None = None
        self._repeats = Repeats()
        self._head_begun = False
        """Part of the growing event at the head has left; nothing may stand before it."""
        self._line_open = False
        """What left last was a truncated event; one of ours needs a blank line before it."""
        self._intervened = False
        self._done_left = False
        self._usage_left = False
        self._over = False
        self._envelope: dict[str, Any] = {
            "id": f"chatcmpl-guardrail-{stream_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._include_usage = include_usage
        self._prompt_tokens = prompt_tokens
        self._content_events = 0
        self._last_usage: dict[str, Any] | None = None

    # The upstream's side.

    def feed(self, data: bytes) -> list[WireEvent]:
        """Take upstream bytes; what they said."""
        if self._over:
            return []
        said: list[WireEvent] = []
        for _ in range(_TURNS):
            if not data:
                break
            data = self._feed_run(data, said)
            # What ended the run, or the chunk from which a pattern is learnt, is read by itself: more may follow.
            event, end, data = data.partition(_EVENT_END)
            said += self._feed_events(event + end)
        return said + self._feed_events(data)

    def _feed_events(self, data: bytes) -> list[WireEvent]:
        return [said for event in self._decoder.feed(data) for said in self._take(event)] if data else []

    def _feed_run(self, data: bytes, said: list[WireEvent]) -> bytes:
        """Take the events in a row that ``data`` begins with; what is left of it."""
        if not (self._repeats.in_runs and _is_as_learnt(self._lane(self._repeats.lane))):
            return data
        waiting = self._decoder.at_event(data)
        run = None if waiting is None else self._repeats.run_in(waiting, self._max_event_bytes)
        if waiting is None or run is None:
            return data
        said.append(self._take_run(run))
        return self._decoder.skip(waiting, run.size)

    def end(self) -> list[WireEvent]:
        """The upstream ended: its truncated last event, if any, and every lane it left open."""
        if self._over:
            return []
        said = [said for event in self._decoder.end() for said in self._take(event)]
        self._stop_growing()
        return said + self._finish_lanes()

    def _take(self, event: SseEvent) -> list[WireEvent]:
        if event.oversized:
            return self._take_oversized(event)
        item = _Item(event.raw, terminated=event.terminated)
        if not event.data:
            self._queue.append(item)
            return []
        if (text := self._repeats.text_in(event.data)) and (said := self._take_repeat(item, text)):
            return said
        if event.data.strip() == _DONE:
            item.done = item.last = True
            self._queue.append(item)
            return self._finish_lanes()
        try:
            payload = jsontext.read(event.data)
        except ValueError:
            return self._take_opaque(item, Unscanned("malformed", len(event.data)))
        choices = payload.get("choices") if isinstance(payload, dict) else None
        if isinstance(payload, dict) and payload.get("error") and not choices:
            item.error = True
            if not self._all_intervened():
                self._queue.append(item)
            return []
        if not isinstance(choices, list):
            return self._take_opaque(item, Unscanned("unknown_event", count_unknown(payload)))
        item.payload = payload
        said = self._take_chunk(item, choices)
        if len(choices) == 1 and item.verbatim and len(said) == 1 and isinstance(said[0], LaneText):
            self._learn(event.data, item)
        return said

    def _learn(self, data: str, item: _Item) -> None:
        """A chunk of one choice that carries text and nothing else to be reported may come again."""
        (share,) = item.shares
        if not share.finishes and not isinstance(item.payload.get("usage"), dict):
            self._repeats.learn(data, item.payload)

    def _take_repeat(self, item: _Item, text: str) -> list[WireEvent]:
        """A chunk like the one that was learnt; nothing where its lane is no longer as it was then."""
        payload = self._repeats.payload(text)
        (choice,) = payload["choices"]
        # Of the chunk itself, never remembered beside the pattern: another lane may have spoken since.
        lane = self._lane(lane_name(choice))
        if not _is_as_learnt(lane):
            return []
        item.payload = payload
        start = lane.arrived
        lane.arrived += len(text)
        self._content_events += 1
        item.shares.append(Share(lane, start, lane.arrived, finishes=False, choice=choice))
        self._queue.append(item)
        return [LaneText(lane.name, jsontext.scorable(text))]

    def _take_run(self, run: Run) -> LaneText:
        """Many such chunks."""
        lane = self._lane(self._repeats.lane)
        start, lane.arrived = lane.arrived, run.place(lane.arrived)
        self._content_events += len(run)
        self._queue.append(
            _Item(b"", shares=[Share(lane, start, lane.arrived, finishes=False, choice={})], run=run)
        )
        return LaneText(lane.name, jsontext.scorable(run.text))

    def _take_oversized(self, event: SseEvent) -> list[WireEvent]:
        """A piece of an event too large to read joins the place the first piece took."""
        item, self._growing = self._growing, None
        if item is None:
            item = _Item(b"", opaque=True, dropped=self._intervened)
            if not item.dropped:
                self._queue.append(item)
        item.terminated, item.growing = event.terminated, not event.terminated
        if item.growing:
            self._growing = item
        if item.dropped:
            return []
        item.raw += event.raw
        return [Unscanned("oversized_event", len(event.raw))]

    def _take_opaque(self, item: _Item, unscanned: Unscanned) -> list[WireEvent]:
        if self._intervened:
            return []
        item.opaque = True
        self._queue.append(item)
        return [unscanned] if unscanned.chars else []

    def _take_chunk(self, item: _Item, choices: list[Any]) -> list[WireEvent]:
        said: list[WireEvent] = []
        altered = False
        for choice in choices:
            if not isinstance(choice, dict):
                item.opaque = True
                altered = altered or self._intervened
                said += [Unscanned("other", count)] if (count := jsontext.count_text(choice)) else []
                continue
            lane = self._lane(lane_name(choice))
            if lane.intervened or (lane.closed and not lane.finished):
                altered = True
                continue
            share = self._share(lane, choice, said)
            if lane.role_is_ours and (bare := share.without_role()) is not share:
                share, altered = bare, True
            item.shares.append(share)
        usage = item.payload.get("usage")
        if isinstance(usage, dict):
            self._last_usage = usage
        if not choices:
            item.usage = isinstance(usage, dict)
            # Before the first lane it is a preface (prompt filter results), and must not wait for the end.
            item.last = bool(self._lanes) and all(
                lane.finished or lane.closed for lane in self._lanes.values()
            )
        elif item.shares:
            for key in ENVELOPE:
                if key in item.payload:
                    self._envelope[key] = item.payload[key]
        if altered:
            if not item.shares:
                return said
            self._rewrite(item)
        self._queue.append(item)
        return said

    def _share(self, lane: Lane, choice: dict[str, Any], said: list[WireEvent]) -> Share:
        """What a choice carries, and says."""
        delta = choice.get("delta")
        start = lane.released if lane.closed else lane.arrived
        if text := text_of(delta):
            if lane.finished:
                # The lane's scoring has ended with it. Nothing in the protocol allows this.
                said.append(Unscanned("after_finish", len(text)))
            else:
                lane.arrived += len(text)
                self._content_events += 1
                said.append(LaneText(lane.name, jsontext.scorable(text)))
        said.extend(unscanned_in(delta))
        said.extend(unscanned_beside(choice, "delta"))
        finishes = bool(choice.get("finish_reason"))  # some upstreams write "" for none
        if finishes:
            lane.finish_seen = True
            if not lane.finished:
                lane.finished = True
                said.append(LaneFinished(lane.name))
        end = start if lane.closed else lane.arrived
        return Share(lane, start, end, finishes=finishes, choice=choice)

    def _finish_lanes(self) -> list[WireEvent]:
        said: list[WireEvent] = []
        for lane in self._lanes.values():
            if not lane.finished:
                lane.finished = True
                if not lane.closed:
                    said.append(LaneFinished(lane.name))
        return said

    # The driver's side.

    def drain(self) -> bytes:
        """What may leave as things stand."""
        out = bytearray()
        while self._queue:
            item = self._queue[0]
            may_leave = self._may_leave(item)
            if item.run is not None:
                (share,) = item.shares
                out += (some := item.run.let_go(share.lane.released))
                share.lane.opened = share.lane.opened or bool(some)
            if not may_leave:
                break
            if self._line_open and not item.verbatim:
                out += self._decoder.newline * 2
                self._line_open = False
            out += item.raw
            if item.growing:
                item.raw, self._head_begun = b"", True
                break
            self._queue.popleft()
            self._head_begun = False
            self._line_open = not item.terminated
            self._done_left = self._done_left or item.done
            self._usage_left = self._usage_left or item.usage
            for share in item.shares:
                share.lane.opened = True
        return bytes(out)

    def release(self, lane: str, end: int) -> bytes:
        """The lane's text may go out up to ``end``."""
        here = self._lane(lane)
        here.released = max(here.released, min(end, here.arrived))
        return self.drain()

    def insert(self, lane: str, text: str, metadata: Mapping[str, object]) -> bytes:
        """A chunk of ours with ``text``, where the lane's released text ends; nothing on a closed lane."""
        here = self._lane(lane)
        if here.closed:
            return self.drain()
        self._take_runs_apart()
        at, opened = self._place(here)
        delta = {"content": text}
        if not opened:
            delta = {"role": "assistant", **delta}
            here.role_is_ours = True
            for item in self._queue:
                self._change(item, here, Share.without_role)
        self._queue.insert(at, self._chunk(here, delta, None, {"guardrail": dict(metadata)}))
        return self.drain()

    def withhold(self, lane: str, end: int) -> bytes:
        """The lane's text up to ``end`` is taken out of the events that carry it; nothing on a closed lane."""
        here = self._lane(lane)
        if not here.closed:
            self._take_runs_apart()
            end = min(end, here.arrived)
            self._place(here)  # cuts the event in two where the lane's released text ends
            for item in self._queue:
                self._change(item, here, lambda share: share.masked(end))
            here.released = max(here.released, end)
        return self.drain()

    def close(self, lane: str, *, intervened: bool, finish_reason: str) -> bytes:
        """Nothing more will be released on the lane; an intervention writes its end ("" means "stop")."""
        here = self._lane(lane)
        self._take_runs_apart()
        if intervened and not here.closed:
            self._cut_off(here, finish_reason or "stop")
        else:
            self._seal(here)
        return self.drain()

    def finish(self) -> bytes:
        """What is left, and after interventions the usage and ``[DONE]`` that the upstream cannot send."""
        if self._over:
            return b""
        self._stop_growing()
        self._take_runs_apart()
        for lane in self._lanes.values():
            self._seal(lane)
        out = self.drain()
        cut_off = self._intervened and all(
            lane.intervened or lane.finish_seen for lane in self._lanes.values()
        )
        if cut_off and not self._done_left:
            if self._include_usage and not self._usage_left:
                self._queue.append(self._own({**self._envelope, "choices": [], **self._usage()}))
            self._queue.append(_Item(encode_event(_DONE.encode(), self._decoder.newline), verbatim=False))
            out += self.drain()
        self._over = True
        return out

    # The queue.

    def _take_runs_apart(self) -> None:
        """Something is to be changed or put between: every event gets a place of its own."""
        if all(item.run is None for item in self._queue):
            return
        queue, self._queue = self._queue, deque()
        for item in queue:
            if item.run is None:
                self._queue.append(item)
                continue
            (share,) = item.shares
            for raw, payload, start, end in item.run.events():
                own = Share(share.lane, start, end, finishes=False, choice=payload["choices"][0])
                self._queue.append(_Item(raw, payload=payload, shares=[own]))

    def _may_leave(self, item: _Item) -> bool:
        if item.last and not all(lane.closed for lane in self._lanes.values()):
            return False
        for share in item.shares:  # noqa: SIM110 - a loop costs half of all(), and this is asked of every event
            if not share.passable:
                return False
        return True

    def _place(self, lane: Lane) -> tuple[int, bool]:
        """Where the queue has room for words of ours on ``lane``, and whether the lane has begun by then.

        It is after the last event the lane lets go, and as far to the front as that allows. An event of
        which the lane lets go only a part is cut there.
        """
        at, opened = int(self._head_begun), lane.opened
        for position, item in enumerate(self._queue):
            mine = [share for share in item.shares if share.lane is lane]
            if all(share.passable for share in mine):
                if mine:
                    at, opened = position + 1, True
                continue
            if (head := self._split(item, lane)) is not None:
                self._queue.insert(position, head)
                at, opened = position + 1, True
            break
        return at, opened

    def _split(self, item: _Item, lane: Lane) -> _Item | None:
        """Cut from ``item`` what the lane lets go, as an event of its own; None where that is nothing."""
        released: list[Share] = []
        rest: list[Share] = []
        for share in item.shares:
            if share.lane is not lane:
                rest.append(share)
            elif share.passable:
                released.append(share)
            elif share.start < lane.released:
                released.append(share.before(lane.released))
                rest.append(share.after(lane.released))
            else:
                rest.append(share)
        if not released:
            return None
        item.shares = rest
        self._rewrite(item)
        # Usage and all else that is counted stays with the rest: it must not come twice.
        head = self._own({key: item.payload[key] for key in ENVELOPE if key in item.payload})
        head.shares = released
        self._rewrite(head)
        return head

    def _cut_off(self, lane: Lane, finish_reason: str) -> None:
        """End the lane after what was released; the rest of it leaves the queue."""
        at, _ = self._place(lane)
        lane.closed = lane.intervened = self._intervened = True
        self._queue.insert(at, self._chunk(lane, {}, finish_reason, {}))
        kept = deque(islice(self._queue, at + 1))
        for item in islice(self._queue, at + 1, None):
            shares = [share for share in item.shares if share.lane is not lane]
            if not shares and (item.shares or item.opaque or (item.error and self._all_intervened())):
                item.dropped = True
                continue
            if len(shares) < len(item.shares) or item.opaque:
                item.shares = shares
                self._rewrite(item)
            kept.append(item)
        self._queue = kept

    def _seal(self, lane: Lane) -> None:
        """Close the lane as it stands: what was not released is taken out of the events that carry it."""
        lane.closed = True
        for item in self._queue:
            self._change(item, lane, Share.withheld)

    def _change(self, item: _Item, lane: Lane, change: Callable[[Share], Share]) -> None:
        """Change the shares of a lane in an event; only what it says anew is written anew."""
        shares = [change(share) if share.lane is lane else share for share in item.shares]
        said_anew = any(new.choice is not old.choice for new, old in zip(shares, item.shares, strict=True))
        item.shares = shares
        if said_anew:
            self._rewrite(item)

    def _rewrite(self, item: _Item) -> None:
        payload = {**item.payload, "choices": [share.choice for share in item.shares]}
        item.raw = encode_event(jsontext.write(payload), self._decoder.newline)
        item.verbatim, item.terminated, item.opaque = False, True, False

    def _own(self, payload: dict[str, Any]) -> _Item:
        raw = encode_event(jsontext.write(payload), self._decoder.newline)
        return _Item(raw, payload=payload, verbatim=False)

    def _chunk(
        self, lane: Lane, delta: dict[str, str], finish_reason: str | None, extra: dict[str, Any]
    ) -> _Item:
        """A chunk of ours. It stands in its lane like any other: the next one of ours comes after it."""
        choice = {"index": lane.index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        item = self._own({**self._envelope, "choices": [choice], **extra})
        item.shares = [Share(lane, lane.released, lane.released, finishes=False, choice=choice)]
        return item

    def _usage(self) -> dict[str, Any]:
        """What the upstream counted last; where it never counted, an estimate that says so."""
        if self._last_usage is not None:
            return {"usage": self._last_usage}
        usage = {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._content_events,
            "total_tokens": self._prompt_tokens + self._content_events,
        }
        return {"usage": usage, "guardrail": {"usage_estimated": True}}

    def _stop_growing(self) -> None:
        """The end of an oversized event will not come."""
        if self._growing is not None:
            self._growing.growing = False
            self._growing = None

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            self._lanes[name] = Lane(name, lane_index(name))
        return self._lanes[name]

    def _all_intervened(self) -> bool:
        return self._intervened and all(lane.intervened for lane in self._lanes.values())


def _is_as_learnt(lane: Lane) -> bool:
    """Whether a chunk on the lane means what one did that a pattern was learnt from."""
    return not (lane.finished or lane.closed or lane.role_is_ours)
