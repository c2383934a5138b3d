"""The laws of a streamed answer, under any cuts and any schedule of decisions.

The upstream and the schedule are drawn; what must come out is computed the slow way, from the lanes' texts.
"""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from wire_streams import Schedule, choice, chunk, payloads, pieces, sse, texts

from guardrail.wire.chat_completions import ChatCompletionsStream

TEXT = st.sampled_from(["", "a", "bc", " de", "f. ", "ü😀", "- g\n", '"\\', "\u2028", "\x85"])
INDEX = st.integers(0, 2)
CUTS = st.lists(st.integers(0, 1 << 16), max_size=10)
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
DELTAS = st.fixed_dictionaries(
    {"content": TEXT},
    optional={
        "role": st.just("assistant"),
        "reasoning_content": st.just("think"),
        "refusal": st.none(),
        "tool_calls": st.just([CALL]),
        "vendor": st.just({"x": [1.5, None]}),
    },
) | st.fixed_dictionaries({}, optional={"role": st.just("assistant"), "content": st.none()})
CHOICES = st.builds(
    lambda index, delta, extra: {"index": index, "delta": delta, "finish_reason": None, **extra},
    INDEX,
    DELTAS,
    st.sampled_from(
        [{}, {"logprobs": None}, {"logprobs": {"content": [], "refusal": None}}, {"token_ids": [1]}]
    ),
)
CHUNKS = st.builds(
    lambda choices, extra: chunk(*choices, **extra),
    st.lists(CHOICES, min_size=1, max_size=3, unique_by=lambda one: one["index"]),
    st.sampled_from(
        [
            {},
            {"usage": None},
            {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
            {"service_tier": "flex", "obfuscation": "x9"},
        ]
    ),
)
STRANGERS = st.sampled_from(
    [
        b": ping\n\n",
        b": ping\n",
        b"\n",
        b"event: ping\ndata\n\n",
        b"data: {\ndata: }\n\n",
        b"data: 7\n\n",
        b"data: {\n\n",
    ]
)


@st.composite
def upstreams(draw, *, strangers: bool, ends: bool) -> bytes:
    """An answer: chunks on up to three lanes, other things between them, and the end or what is left of it."""
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    events = draw(st.lists((CHUNKS | STRANGERS) if strangers else CHUNKS, min_size=1, max_size=12))
    lanes = sorted({one["index"] for event in events if isinstance(event, dict) for one in event["choices"]})
    tail = [chunk(choice(draw(TEXT), index=index, finish="stop")) for index in lanes]
    tail = [
        *draw(st.permutations(tail)),
        chunk(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
    ]
    if ends or draw(st.booleans()):
        events += [*tail, "[DONE]"]
    elif draw(st.booleans()):
        events += tail[: draw(st.integers(0, len(tail)))]
    data = b"".join(
        event.replace(b"\n", newline.encode())
        if isinstance(event, bytes)
        else sse(json.dumps(event) if event != "[DONE]" else event, newline=newline)
        for event in events
    )
    return data if ends else data[: len(data) - draw(st.sampled_from([0, 0, 1, 2, 9]))]


@settings(max_examples=300, deadline=None)
@given(data=upstreams(strangers=True, ends=False), cuts=CUTS, decide=st.data())
def test_an_answer_nobody_touches_leaves_byte_for_byte(data, cuts, decide):
    driver = Schedule(ChatCompletionsStream(include_usage=True))
    for piece in pieces(data, cuts):
        driver.feed(piece)
        for lane, text in list(driver.arrived.items()):
            if lane not in driver.closed:
                driver.release(lane, decide.draw(st.integers(driver.released[lane], len(text))))
        assert data.startswith(driver.out)
    driver.end()
    for lane in decide.draw(st.permutations(sorted(driver.arrived))):
        driver.release(lane, len(driver.arrived[lane])).close(lane)
    assert driver.finish() == data


@given(data=upstreams(strangers=True, ends=False), cuts=CUTS)
def test_cuts_mean_nothing_to_what_is_said(data, cuts):
    whole = Schedule(ChatCompletionsStream()).feed(data).end()
    for fed in (pieces(data, cuts), [data[i : i + 1] for i in range(len(data))]):
        driver = Schedule(ChatCompletionsStream()).feed(*fed).end()
        assert (driver.arrived, driver.finished) == (whole.arrived, whole.finished)
        assert driver.unscanned == whole.unscanned
        assert driver.out == whole.out


class Account:
    """What a client must have been shown of every lane: released text, and inserts where they came."""

    def __init__(self, driver: Schedule) -> None:
        self.driver = driver
        self.parts: dict[str, list[tuple[int, str]]] = {}
        self.masked: dict[str, list[tuple[int, int]]] = {}
        self.sealed: dict[str, int] = {}

    def insert(self, lane: str, words: str) -> None:
        self.parts.setdefault(lane, []).append((self.driver.released[lane], words))
        self.driver.insert(lane, words, n=len(self.parts[lane]))

    def withhold(self, lane: str, end: int) -> None:
        self.masked.setdefault(lane, []).append((self.driver.released[lane], end))
        self.driver.withhold(lane, end)

    def shown(self, lane: str) -> str:
        text, begin = "", 0
        masks = [(at, end, "") for at, end in self.masked.get(lane, [])]
        inserts = [(at, at, words) for at, words in self.parts.get(lane, [])]
        for at, goes_on, words in sorted(inserts + masks, key=lambda cut: cut[:2]):
            text += self.driver.arrived[lane][begin:at] + words
            begin = goes_on
        return text + self.driver.arrived[lane][begin : self.driver.released[lane]]

    def check(self, *, final: bool) -> None:
        read = texts(bytes(self.driver.out))
        for lane in self.driver.arrived:
            shown = read.pop(int(lane.removeprefix("choice/")), "")
            assert shown == self.shown(lane) if final else self.shown(lane).startswith(shown), lane
        assert not read


@settings(max_examples=400, deadline=None)
@given(data=upstreams(strangers=False, ends=True), cuts=CUTS, decide=st.data())
def test_nothing_unreleased_leaves_and_nothing_released_is_lost(data, cuts, decide):
    driver = Schedule(ChatCompletionsStream(include_usage=True))
    account = Account(driver)
    steps = st.sampled_from(["release", "release", "release", "insert", "mask", "end", "give_up", "nothing"])

    def decide_on(lane: str, step: str) -> None:
        match step:
            case "release":
                driver.release(
                    lane, decide.draw(st.integers(driver.released[lane], len(driver.arrived[lane])))
                )
            case "insert":
                account.insert(lane, f"<{len(account.parts.get(lane, []))}>")
            case "mask":
                account.insert(lane, "[]")
                account.withhold(
                    lane, decide.draw(st.integers(driver.released[lane], len(driver.arrived[lane])))
                )
            case "end":
                driver.close(lane, intervened=True, finish_reason="content_filter")
                account.sealed[lane] = driver.released[lane]
            case "give_up" if lane in driver.finished:
                driver.close(lane)
        account.check(final=False)

    for piece in pieces(data, cuts):
        driver.feed(piece)
        account.check(final=False)
        for lane in list(driver.arrived):
            if lane not in driver.closed:
                decide_on(lane, decide.draw(steps))
    driver.end()
    for lane in decide.draw(st.permutations(sorted(driver.arrived))):
        if lane not in driver.closed and decide.draw(st.booleans()):
            decide_on(lane, "insert")
        if lane not in driver.closed:
            driver.release(lane, len(driver.arrived[lane])).close(lane)
            account.check(final=False)
    out = driver.finish()
    account.check(final=True)

    # In shape: typed chunks, one end a lane, one end of the stream, and nothing behind it.
    *chunks, done = payloads(out)
    assert done == "[DONE]"
    assert "[DONE]" not in chunks
    ended = [
        (one["index"], one["finish_reason"])
        for each in chunks
        for one in each["choices"]
        if one["finish_reason"]
    ]
    assert sorted(ended) == sorted(
        (int(lane[-1]), "content_filter" if lane in account.sealed else "stop") for lane in driver.arrived
    )
    assert sum(not each["choices"] for each in chunks) == 1
    assert not chunks[-1]["choices"]
    for each in chunks:
        ChatCompletionChunk.model_validate(each, strict=True)
    for lane in account.parts:
        marks = [
            each["guardrail"]["n"]
            for each in chunks
            if "guardrail" in each and each["choices"][0]["index"] == int(lane[-1])
        ]
        assert marks == list(range(1, len(marks) + 1)) == list(range(1, len(account.parts[lane]) + 1))


@settings(deadline=None)
@given(data=upstreams(strangers=False, ends=True), cuts=CUTS, at=st.integers(0, 30), goes_on=st.booleans())
def test_an_intervention_reads_the_same_however_the_upstream_cut(data, cuts, at, goes_on):
    """Invariant 3, as far as it is the wire's: decisions come at text positions, chunks carry no meaning."""

    def shown(*fed: bytes) -> dict[int, str]:
        driver = Schedule(ChatCompletionsStream())
        driver.feed(*fed).end()
        for lane in sorted(driver.arrived):
            driver.release(lane, at).insert(lane, "<help>").close(lane, intervened=True) if not goes_on else (
                driver.release(lane, at).insert(lane, "<help>").release(lane, 1 << 20).close(lane)
            )
        return texts(driver.finish())

    assert shown(*pieces(data, cuts)) == shown(data)


TWO_LINES = [
    b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}\n%s}]}\n\n' % (text, begins)
    for text in (b"x", b"y")
    for begins in (b"data: ", b"")  # without it the second line is no data, and the first no JSON
]
RUNS = st.lists(
    st.tuples(st.integers(0, 1), st.lists(TEXT, min_size=1, max_size=8))
    | STRANGERS
    | st.lists(st.sampled_from(TWO_LINES), min_size=1, max_size=4).map(b"".join),
    min_size=1,
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(runs=RUNS, cuts=CUTS, decide=st.data())
def test_events_in_a_row_are_as_good_as_events_one_by_one(runs, cuts, decide):
    data = b"".join(
        run if isinstance(run, bytes) else sse(*(chunk(choice(text, index=run[0])) for text in run[1]))
        for run in runs
    )
    drivers = [Schedule(ChatCompletionsStream()), Schedule(ChatCompletionsStream())]
    drivers[1].stream._repeats.learn = lambda data, payload: None  # reads every event by itself
    steps = st.sampled_from(["release", "release", "insert", "mask", "end", "nothing"])
    for piece in pieces(data, cuts):
        for driver in drivers:
            driver.feed(piece)
        for lane in list(drivers[0].arrived):
            step = decide.draw(steps) if lane not in drivers[0].closed else "nothing"
            to = decide.draw(st.integers(drivers[0].released[lane], len(drivers[0].arrived[lane])))
            for driver in drivers:
                match step:
                    case "release":
                        driver.release(lane, to)
                    case "insert":
                        driver.insert(lane, "<help>")
                    case "mask":
                        driver.insert(lane, "[]").withhold(lane, to)
                    case "end":
                        driver.close(lane, intervened=True)
        assert drivers[0].out == drivers[1].out
    for driver in drivers:
        driver.end()
        for lane in sorted(driver.arrived):
            driver.release(lane, 1 << 20).close(lane)
    assert drivers[0].arrived == drivers[1].arrived
    assert drivers[0].unscanned == drivers[1].unscanned
    assert drivers[0].finish() == drivers[1].finish()
