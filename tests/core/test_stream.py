"""The lane's state machine, scene by scene: events in, commands out."""

from __future__ import annotations

import pytest

from guardrail.core import commands as do
from guardrail.core import events as on
from guardrail.core.composition import Composition
from guardrail.core.spans import Span
from guardrail.core.stream import GuardedStream, LaneRules
from guardrail.core.verdicts import Decision, FailureStance, Finding, Kind, Role
from guardrail.policy.judge import LaneJudge
from guardrail.testing.chunking import by_character, three_ways
from guardrail.testing.playbook import LanePlayer, Playbook
from guardrail.testing.scorers import score_words
from tests.core.properties import WORDS, make, policy

HELP = "[redirect self_harm]"
TEARS = "[redirect mental_distress]"
ENDING = "[replace violence]"
FAILED = "[replace failure]"


def decision(kind: Kind = Kind.REDIRECT, category: str = "self_harm", severity: int = 2) -> Decision:
    return Decision(kind, Finding(category, severity, 0.9, Span(0, 3), Role.USER), "test")


def player_of(decisions=(), *, enforce: bool = True, begin: bool = True, **changes) -> LanePlayer:
    player = LanePlayer(make(enforce=enforce, **changes), WORDS)
    if begin:
        player.begin(decisions)
    return player


def client_of(text: str, decisions=(), **changes) -> str:
    """What the client gets, after making sure that no way of cutting the text changes it."""
    views = {player_of(decisions, **changes).play(chunks).client for chunks in three_ways(text)}
    assert len(views) == 1, "invariant 3"
    return views.pop()


# -- scoring and releasing -----------------------------------------------------------------------


def test_a_calm_lane_is_scored_word_by_word_and_released_as_scored():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    book >> on.ChunkReceived("Hi there ") << [do.ScoreText(Span(0, 8), "Hi there")]
    book >> on.ChunkReceived("you") << []
    (
        book
        >> on.ScoresReceived(score_words("Hi there", 0, {}))
        << [
            do.WakeAfter(0.25),
            do.ReleaseText(Span(0, 8), "Hi there"),
        ]
    )
    book >> on.LaneFinished() << [do.ScoreText(Span(8, 12), " you")]
    (
        book
        >> on.ScoresReceived(score_words(" you", 8, {}))
        << [
            do.ReleaseText(Span(8, 12), " you"),
            do.EndLane(intervened=False),
        ]
    )


def test_an_empty_lane_ends_without_a_word():
    book = Playbook(make())
    book >> on.LaneFinished() << []
    book >> on.PromptJudged() << [do.EndLane(intervened=False)]


def test_an_empty_chunk_leads_to_nothing():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    book >> on.ChunkReceived("") << []
    book >> on.LaneFinished() << [do.EndLane(intervened=False)]


def test_white_space_alone_needs_no_score():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    book >> on.ChunkReceived(" \n ") << [do.WakeAfter(0.25)]
    book >> on.LaneFinished() << [do.ReleaseText(Span(0, 3), " \n "), do.EndLane(intervened=False)]


def test_white_space_behind_a_word_does_not_keep_a_reader_waiting():
    player = player_of()
    player.chunk("sea.\n\n")
    player.score_all()
    assert player.released == "sea."
    player.wake()
    assert player.released == "sea.\n\n"
    assert player.play(["And on."]).released == "sea.\n\nAnd on."


def test_white_space_waits_where_help_still_looks_for_its_place():
    player = player_of([decision()])
    player.chunk("sea. ")
    player.score_all()
    player.wake()
    assert player.released == "sea."


def test_what_gathers_while_scores_are_out_goes_out_together():
    player = player_of()
    for chunk in ["one ", "two ", "three ", "four "]:
        player.chunk(chunk)
    assert player.waiting.text == "one"
    player.score()
    assert player.waiting.text == " two three four"


def test_nothing_is_released_before_its_own_score():  # invariant 2
    player = player_of()
    player.chunk("one two three ")
    assert player.client == ""
    player.score()
    assert player.client == "one two three"


def test_nothing_is_scored_or_released_before_the_prompt_is_judged():
    player = player_of(begin=False)
    player.chunk("one two ")
    assert (player.waiting, player.client) == (None, "")
    player.begin()
    assert player.waiting.text == "one two"


def test_judging_the_prompt_twice_counts_once():
    player = player_of([decision()])
    player.begin([decision(category="sexual")])
    player.play(["All is said. Next."])
    assert [insert.decision.finding.category for insert in player.inserts] == ["self_harm"]


def test_released_text_and_watermarks_agree_at_every_step():  # invariant 1
    player = player_of()
    for chunk in by_character("one murk two. three four five six seven eight nine ten "):
        player.chunk(chunk)
        player.score()
        stream = player.stream
        assert len(player.released) == stream.released <= stream.cleared <= stream.arrived


@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好。我们去公园。",
        "สวัสดีครับวันนี้อากาศดีมากเลยไปเดินเล่นที่สวนสาธารณะกันเถอะครับทุกคนคงจะสนุกกันมากแน่นอนเลย",
        "One 👩‍👩‍👧 two 🇦🇹 three e\u0301\u0301 four.",
        "See https://example.org/" + "path/" * 60 + " there.",
        "Line one.\r\nLine two.\r\n\r\nPara two.\r\n",
        "\ufeffBOM and \u200bzero\u200bwidth.",
        "```py\nprint('x')\n```",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_calm_text_of_any_script_arrives_unchanged(text):  # invariants 3 and 4
    assert client_of(text) == text


def test_thai_does_not_wait_for_a_space_that_never_comes():
    player = player_of()
    player.chunk("ก" * 150)
    player.score_all()
    assert len(player.released) == 128


# -- the open word -------------------------------------------------------------------------------


def test_an_open_word_is_scored_as_it_stands_when_the_timer_fires():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    book >> on.ChunkReceived("Hel") << [do.WakeAfter(0.25)]
    book >> on.Woken() << [do.ScoreText(Span(0, 3), "Hel", tentative=True)]
    book >> on.ScoresReceived(score_words("Hel", 0, {})) << [do.ReleaseText(Span(0, 3), "Hel")]
    # Scored again, from its beginning, once it is complete.
    book >> on.ChunkReceived("lo ") << [do.ScoreText(Span(0, 5), "Hello")]
    released = do.ReleaseText(Span(3, 5), "lo")
    book >> on.ScoresReceived(score_words("Hello", 0, {})) << [do.WakeAfter(0.25), released]


def test_a_growing_word_does_not_put_its_deadline_off():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    book >> on.ChunkReceived("a") << [do.WakeAfter(0.25)]
    book >> on.ChunkReceived("b") << []
    book >> on.ChunkReceived("c") << []
    book >> on.Woken() << [do.ScoreText(Span(0, 3), "abc", tentative=True)]
    book >> on.ChunkReceived("d") << []
    (
        book
        >> on.ScoresReceived(score_words("abc", 0, {}))
        << [
            do.WakeAfter(0.25),
            do.ReleaseText(Span(0, 3), "abc"),
        ]
    )


def test_the_next_open_word_gets_a_deadline_of_its_own():
    player = player_of()
    player.chunk("one tw")
    player.timer_s = None
    player.score()
    assert player.timer_s == 0.25


def test_a_timer_that_fires_while_scores_are_out_is_set_again():
    player = player_of()
    player.chunk("one")
    player.chunk(" two")
    player.wake()
    assert player.waiting.text == "one"
    player.score()
    assert player.timer_s == 0.25


def test_a_tentative_score_that_is_not_calm_releases_nothing():
    player = player_of()
    player.chunk("doom")
    player.wake()
    player.score()
    assert player.client == ""
    player.chunk(" ")
    player.score()
    assert player.client == ""


def test_a_tentative_score_leaves_no_trace_in_the_judge():
    # Twice tentative and once for good would be a run of three, were it counted.
    player = player_of(debounce_tokens=3)
    for _ in range(2):
        player.chunk("doom"[:4])
        player.wake()
        player.score()
    player.play(["x calm words follow here."])
    assert not player.inserts


def test_a_failed_tentative_score_is_no_failure():
    player = player_of()
    player.chunk("Hel")
    player.wake()
    player.waiting = None
    player.tell(on.ScoringFailed("error"))
    assert not player.notes
    player.play(["lo."])
    assert player.client == "Hello."


def test_no_open_word_is_released_while_the_lane_is_watched():
    player = player_of()
    player.chunk("murk calm")
    player.score()
    player.wake()
    player.score()
    assert player.client == ""


def test_a_policy_can_switch_the_timer_off():
    stream = GuardedStream(LaneJudge(policy(), Role.ASSISTANT), LaneRules(open_word_deadline_s=0))
    player = LanePlayer(stream)
    player.begin()
    player.chunk("word")
    assert player.timer_s is None


# -- adaptive hold-back --------------------------------------------------------------------------


def step(player: LanePlayer, text: str) -> str:
    player.chunk(text)
    player.score_all()
    return player.client


def test_watching_pins_the_release_in_front_of_the_risky_word_until_it_settles():
    player = player_of()
    assert step(player, "It is fine. The ") == "It is fine. The"
    assert step(player, "murk is ") == "It is fine. The"
    assert step(player, "calm ") == "It is fine. The"  # two calm tokens: not settled yet
    assert step(player, "now ") == "It is fine. The murk is calm now"  # three: settled


def test_a_lane_that_gets_hot_again_starts_settling_anew():
    player = player_of()
    step(player, "murk is calm ")
    assert step(player, "murk is calm ") == ""
    assert step(player, "again ") == "murk is calm murk is calm again"


def test_white_space_and_marks_the_scorer_drops_do_not_settle_a_lane():
    player = player_of()
    step(player, "murk ")
    assert step(player, "\n\n\n   \n ") == ""


def test_holding_too_much_releases_whole_sentences():
    player = player_of()
    calm = "Murk one murk two. Murk three murk four. "
    step(player, calm)
    assert player.client == ""
    step(player, "Murk five murk six. Murk seven murk eight ")
    assert player.client == "Murk one murk two. Murk three murk four. Murk five murk six."


def test_holding_too_much_without_a_sentence_end_releases_words():
    player = player_of()
    step(player, "murk " * 40)
    assert 0 < player.stream.arrived - player.stream.released <= 80 + len(" murk ")
    assert player.client.endswith("murk")


def test_a_risk_that_waits_to_be_confirmed_stays_held_however_long():  # invariant 2
    player = player_of(debounce_tokens=2)
    step(player, "murk " * 10 + "doom" + " " * 500 + "\n")
    assert "doom" not in player.client
    step(player, "doom ")
    assert player.inserts[0].at <= len("murk " * 10)


def test_held_text_leaves_when_the_answer_ends_calmly():
    assert client_of("All is calm. Then murk") == "All is calm. Then murk"


# -- ending an answer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("It is so. First doom doom and more", f"It is so. First…\n\n{ENDING}"),
        ("It is so. Doom doom and more", f"It is so.\n\n{ENDING}"),
        ("doom doom and more", ENDING),
        ("- one\n- two doom doom", f"- one\n- two…\n\n{ENDING}"),
        ("Run:\n```sh\nls doom doom\n", f"Run:\n```sh\nls\n```\n\n{ENDING}"),
        ("| a | b |\n| c doom doom |", f"| a | b |\n| c\n\n{ENDING}"),
        ("Very **bold doom doom**", f"Very **bold**…\n\n{ENDING}"),
        ("这很好。doom doom", f"这很好。\n\n{ENDING}"),
        ("CRLF line.\r\ndoom doom", f"CRLF line.\n\n{ENDING}"),
    ],
    ids=repr,
)
def test_a_replacement_closes_what_is_open_and_ends_the_answer(text, client):
    assert client_of(text) == client


def test_a_replacement_ends_the_lane_once_and_drops_what_still_comes():  # invariant 5
    player = player_of()
    player.play(["calm doom doom "])
    assert player.ended == do.EndLane(intervened=True)
    before = player.client
    for event in (
        on.ChunkReceived("more "),
        on.Woken(),
        on.ScoringDelayed(),
        on.ScoringFailed("late"),
        on.ScoresReceived(()),
        on.InsertComposed(Composition("again", "w")),
        on.LaneFinished(),
        on.PromptJudged((decision(),)),
    ):
        assert player.stream.handle(event) == []
    assert player.client == before
    assert player.stream.closed
    assert player.stream.arrived == len("calm doom doom more ")


def test_text_that_comes_while_the_words_are_sought_is_dropped_and_counted():
    stream = make()
    book = Playbook(stream)
    (
        book
        >> on.PromptJudged((decision(Kind.REPLACE),))
        << [do.ComposeInsert(decision(Kind.REPLACE), 0, at_start=True)]
    )
    book >> on.ChunkReceived("more") << []
    (
        book
        >> on.InsertComposed(Composition("No.", "w"))
        << [
            do.InsertText(decision(Kind.REPLACE), 0, "No.", "w"),
            do.EndLane(intervened=True),
        ]
    )
    assert (stream.arrived, stream.released) == (4, 0)


def test_text_behind_the_upstreams_own_end_is_dropped_and_counted():
    player = player_of()
    player.chunk("one")
    player.tell(on.LaneFinished())
    player.chunk(" two")
    player.score_all()
    assert (player.client, player.stream.arrived) == ("one", 7)
    assert player.ended == do.EndLane(intervened=False)


def test_words_nobody_asked_for_are_ignored():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    book >> on.InsertComposed(Composition("Hello.", "w")) << []


def test_a_risk_waiting_at_the_end_of_the_answer_stands():
    assert client_of("It is so. And doom") == f"It is so. And…\n\n{ENDING}"


def test_findings_are_reported_before_the_intervention_they_lead_to():
    player = player_of()
    player.play(["calm doom doom"])
    (note,) = player.notes
    (finding,) = note.findings
    assert (finding.category, finding.severity, finding.span) == ("violence", 3, Span(5, 14))
    assert player.inserts[0].decision.finding == finding


def test_an_annotation_is_noted_and_changes_nothing():
    player = player_of()
    player.play(["An odd word."])
    assert player.client == "An odd word."
    noted = [note for note in player.notes if isinstance(note, do.NoteDecision)]
    assert [(note.decision.kind, note.at, note.enforced) for note in noted] == [(Kind.ANNOTATE, 2, True)]


def test_an_allowed_finding_is_not_even_noted():
    player = player_of([decision(Kind.ALLOW)])
    player.play(["Fine."])
    assert (player.client, player.notes) == ("Fine.", [])


# -- redirecting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("One is said. Two is.", f"One is said. \n\n{HELP}\n\nTwo is."),
        ("One is said.\n\nTwo is.", f"One is said.\n\n{HELP}\n\nTwo is."),
        ("One is said.\r\n\r\nTwo is.", f"One is said.\n\n{HELP}\r\n\r\nTwo is."),
        ("One is said.\nTwo is.", f"One is said.\n\n{HELP}\n\nTwo is."),
        ("A heading\n\nTwo is.", f"A heading…\n\n{HELP}\n\nTwo is."),
        ("这很好。我们去。", f"这很好。\n\n{HELP}\n\n我们去。"),
        (
            "Ask Dr. Who about e.g. 3.5 things. Then go.",
            f"Ask Dr. Who about e.g. 3.5 things. \n\n{HELP}\n\nThen go.",
        ),
        ("no boundary here", f"no boundary here…\n\n{HELP}"),
        ("One sentence only.", f"One sentence only.\n\n{HELP}"),
        ("", HELP),
        (" \n", f" \n{HELP}"),
    ],
    ids=repr,
)
def test_help_is_inserted_at_the_first_sentence_boundary_or_at_the_end(text, client):
    assert client_of(text, [decision()]) == client


@pytest.mark.parametrize(
    "block",
    [
        "```py\nx = 1. Then. y\n\nz = 2. More.\n```\n",
        "~~~\nOne. Two. Three.\n~~~\n",
        "- One. Two.\n- Three. Four.\n",
        "1. One. Two.\n   Three. Four.\n\n2. Five. Six.\n",
        "| One. Two. | Three. Four. |\n| --- | --- |\n",
    ],
    ids=repr,
)
def test_help_waits_until_a_block_is_over(block):
    text = f"{block}\nText after it. And on."
    assert client_of(text, [decision()]) == f"{block}\nText after it. \n\n{HELP}\n\nAnd on."


def test_help_at_the_end_of_an_answer_that_ends_with_code_is_not_code():
    text = "Run\n```\nls\n```"
    assert client_of(text, [decision()]) == f"{text}\n\n{HELP}"


def test_help_does_not_wait_for_a_watched_lane_to_settle():
    text = "Some murk. Not yet settled here. Now it is."
    assert client_of(text, [decision()]) == f"Some murk. \n\n{HELP}\n\nNot yet settled here. Now it is."


def test_help_waits_for_a_risk_before_it_to_be_confirmed_or_not():
    text = "Some doom\n\ndoom again."
    assert client_of(text, [decision()]) == f"Some…\n\n{ENDING}"


def test_help_that_the_answer_itself_calls_for_comes_at_the_next_boundary():
    assert client_of("So many tears are here now. They go on.") == (
        f"So many tears are here now. \n\n{TEARS}\n\nThey go on."
    )


def test_help_is_given_once_a_category():
    player = player_of([decision(category="mental_distress")])
    player.play(["Tears are here now, my friend. Tears are there now, my friend. And so on."])
    assert len(player.inserts) == 1


def test_the_graver_of_two_redirects_that_wait_is_given():
    mild, grave = decision(category="sexual", severity=1), decision(severity=3)
    for decisions in ([mild, grave], [grave, mild]):
        assert client_of("One is said. Two is. Three is.", decisions).count("[") == 1
        assert HELP in client_of("One is said. Two is.", decisions)


def test_a_replacement_takes_the_place_of_help_that_still_waits():
    assert client_of("So doom doom it is.", [decision()]) == f"So…\n\n{ENDING}"


def test_help_and_then_an_ending():
    text = "One is said. Two is said. Then doom doom."
    assert client_of(text, [decision()]) == (f"One is said. \n\n{HELP}\n\nTwo is said. Then…\n\n{ENDING}")


# -- what the prompt decides ---------------------------------------------------------------------


def test_a_prompt_can_replace_the_whole_answer():
    player = player_of([decision(Kind.REPLACE)])
    assert player.client == "[replace self_harm]"
    assert player.ended == do.EndLane(intervened=True)


def test_a_prompt_that_is_annotated_leaves_the_answer_alone():
    player = player_of([decision(Kind.ANNOTATE)])
    player.play(["All is said. Next."])
    assert player.client == "All is said. Next."
    assert [type(note) for note in player.notes] == [do.NoteDecision]


def test_text_that_arrived_before_the_prompt_was_judged_is_treated_like_any_other():
    early, late = player_of(begin=False), player_of([decision()])
    early.chunk("One is said. Two ")
    early.begin([decision()])
    for player in (early, late):
        player.play(["is."] if player is early else ["One is said. Two ", "is."])
    assert early.client == late.client


# -- observe -------------------------------------------------------------------------------------


def test_observing_releases_text_as_it_arrives_even_before_the_prompt_is_judged():
    player = player_of(enforce=False, begin=False)
    player.chunk("doom do")
    assert player.client == "doom do"
    player.begin([decision(Kind.REPLACE)])
    player.play(["om."])
    assert player.client == "doom doom."
    assert not player.inserts
    assert player.ended == do.EndLane(intervened=False)


def test_observing_notes_what_would_have_been_done():
    player = player_of(enforce=False)
    player.play(["calm doom doom. tears"])
    noted = [note for note in player.notes if isinstance(note, do.NoteDecision)]
    assert [(note.decision.kind, note.enforced) for note in noted] == [
        (Kind.REPLACE, False),
        (Kind.REDIRECT, False),
    ]


def test_observing_does_not_end_before_everything_was_scored():
    player = player_of(enforce=False)
    player.chunk("one two")
    player.tell(on.LaneFinished())
    assert (player.client, player.ended) == ("one two", None)
    player.score_all()
    assert player.ended is not None


@pytest.mark.parametrize("stance", list(FailureStance))
def test_observing_lets_failed_text_pass_whatever_the_stance(stance):
    player = player_of(enforce=False, on_failure=stance.value)
    player.chunk("one two ")
    player.fail()
    player.play(["three."])
    assert player.client == "one two three."
    assert do.NoteUnscanned(7, "error") in player.notes


# -- when scoring fails (invariants 6 and 7) -----------------------------------------------------


def test_invariant_6_pass_lets_failed_text_go_and_invariant_7_says_so():
    player = player_of(on_failure="pass")
    player.chunk("one two ")
    player.fail()
    assert player.client == "one two"
    assert player.notes == [
        do.NoteFailure("error", FailureStance.PASS, Span(0, 7)),
        do.NoteUnscanned(7, "error"),
    ]
    player.play(["three."])
    assert player.client == "one two three."


def test_pass_lets_late_text_go_before_its_scores_come():
    player = player_of(on_failure="pass")
    player.chunk("one two ")
    player.tell(on.ScoringDelayed())
    assert player.client == "one two "
    player.chunk("three ")
    assert player.client == "one two three "
    player.play([])
    assert player.client == "one two three "


def unscanned(player: LanePlayer) -> list[tuple[int, str]]:
    return [(note.chars, note.reason) for note in player.notes if isinstance(note, do.NoteUnscanned)]


def test_invariant_7_text_that_left_before_its_scores_is_said_to_have_done_so_once():
    player = player_of(on_failure="pass")
    player.chunk("one two ")
    player.tell(on.ScoringDelayed())
    assert unscanned(player) == [(8, "late")]
    player.chunk("three ")
    player.play([])  # the scores come, of all of it
    assert unscanned(player) == [(8, "late"), (6, "late")]
    assert [type(note) for note in player.notes].count(do.NoteFailure) == 1


def test_what_is_given_up_on_is_not_said_twice():
    player = player_of(on_failure="pass")
    player.chunk("one two ")
    player.tell(on.ScoringDelayed())
    player.fail("late")
    assert [note for note in player.notes if isinstance(note, do.NoteFailure)] == [
        do.NoteFailure("late", FailureStance.PASS, Span(0, 7))
    ]
    assert unscanned(player) == [(8, "late")]
    player.chunk("three ")  # what comes later is asked for again
    player.fail("overload")
    assert unscanned(player) == [(8, "late"), (5, "overload")]
    assert player.client == "one two three"


def test_scoring_goes_on_behind_what_passed():
    player = player_of(on_failure="pass")
    player.chunk("doom doom ")
    player.fail("overload")
    player.chunk("all is well. ")
    player.score()
    assert player.client == "doom doom all is well."
    player.chunk("doom doom ")
    player.score()
    assert player.client.endswith(ENDING)


def test_invariant_7_holds_for_late_text_that_a_watch_held_until_after_the_scores():
    player = player_of(on_failure="pass")
    step(player, "murk ")
    player.chunk("so it is. ")
    player.tell(on.ScoringDelayed())
    player.chunk("and on ")  # clear because it is late, held because the lane is watched
    player.score()  # three calm tokens: the lane is free, and with it text nobody has scored
    assert player.client == "murk so it is. and on "
    assert unscanned(player) == [(8, "late")]


def test_late_scores_still_stop_what_has_not_left():
    player = player_of(on_failure="pass")
    player.chunk("doom doom ")
    player.tell(on.ScoringDelayed())
    player.score()
    assert player.client == f"doom doom …\n\n{ENDING}"
    assert player.inserts[0].at == len("doom doom ")


def test_pass_does_not_free_what_is_held_because_of_risk():
    player = player_of(on_failure="pass")
    step(player, "murk ")
    player.chunk("next ")
    player.tell(on.ScoringDelayed())
    assert player.client == ""


def test_pass_holds_a_bounded_amount_when_scoring_dies_on_a_watched_lane():
    player = player_of(on_failure="pass")
    step(player, "murk ")
    for _ in range(60):
        player.chunk("word ")
        if player.waiting:
            player.fail()
    assert player.stream.arrived - player.stream.released < 100


@pytest.mark.parametrize("stance", ["hold", "redirect"])
def test_late_text_stays_held_until_its_scores_come(stance):
    player = player_of(on_failure=stance)
    player.chunk("one two ")
    player.tell(on.ScoringDelayed())
    assert player.client == ""
    player.score()
    assert player.client == "one two"


def test_invariant_6_redirect_ends_the_answer_where_it_was_last_cleared():
    player = player_of(on_failure="redirect")
    step(player, "It is said. ")
    player.chunk("one two ")
    player.fail("overload")
    assert player.client == f"It is said.\n\n{FAILED}"
    assert player.ended == do.EndLane(intervened=True)
    assert player.notes == [do.NoteFailure("overload", FailureStance.REDIRECT, Span(11, 19))]


def test_invariant_6_hold_withholds_failed_text_and_ends_constructively_at_the_end():
    player = player_of(on_failure="hold")
    step(player, "It is said. ")
    player.chunk("one two ")
    player.fail()
    player.chunk("three ")
    assert (player.client, player.waiting) == ("It is said.", None)
    player.tell(on.LaneFinished())
    assert player.client == f"It is said.\n\n{FAILED}"
    assert player.ended == do.EndLane(intervened=True)


def test_a_failure_nobody_waits_for_is_ignored():
    book = Playbook(make())
    book >> on.PromptJudged() << []
    book >> on.ScoringFailed("error") << []
    book >> on.ScoringDelayed() << []


# -- details a change would break ----------------------------------------------------------------


def test_of_two_redirects_as_grave_the_first_is_given():
    decisions = [decision(), decision(category="sexual")]
    client = client_of("One is said. Two is. Three is.", decisions)
    assert HELP in client
    assert client.count("[") == 1


def test_no_open_word_leaves_while_help_waits_for_its_place():
    player = player_of([decision()])
    player.chunk("One")
    player.wake()
    assert player.score()
    assert player.client == ""


def test_help_in_a_watched_lane_leaves_the_rest_held():
    player = player_of([decision()])
    step(player, "Murk it. Murk it ")
    assert player.client.endswith(f"{HELP}\n\n")
    assert player.released.strip() == "Murk it."


def test_text_that_is_no_prose_gets_no_help_inserted_and_says_so():
    stream = GuardedStream(LaneJudge(policy(), Role.ASSISTANT), LaneRules(prose=False))
    player = LanePlayer(stream, WORDS)
    player.begin([decision()])
    player.play(['{"a": "One is said. Two is."}'])
    assert player.client == '{"a": "One is said. Two is."}'
    assert do.NoteDecision(decision(), 0, enforced=False) in player.notes


def test_text_that_is_no_prose_is_still_replaced():
    stream = GuardedStream(LaneJudge(policy(), Role.ASSISTANT), LaneRules(prose=False))
    player = LanePlayer(stream, WORDS)
    player.begin()
    player.play(["So doom doom."])
    assert player.ended == do.EndLane(intervened=True)


def test_a_token_belongs_to_the_word_it_begins_in():
    # No space stands between these words: the first must not be held for the second one's risk.
    player = LanePlayer(make(), {"险": {"violence": 0.95}})
    player.begin()
    player.play(["好险险"])
    assert player.client == f"好…\n\n{ENDING}"
