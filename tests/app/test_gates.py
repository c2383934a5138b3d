"""A policy's gates, from its file to what is scored: who is asked, whose findings count, and which engine will do."""

from __future__ import annotations

import json

import pytest

from guardrail.app import offline
from guardrail.app.engine import Listening, load_engine, serving
from guardrail.app.wiring import Settings, assemble, described, load_checked_policy
from guardrail.cli.main import main
from guardrail.engine.pack import load_pack
from guardrail.errors import ConfigError
from guardrail.testing.chunking import by_character, randomly, whole
from tests.app.helpers import read_answers, write_rows
from tests.engine.lexical_packs import write_lexical_pack
from tests.engine.window_packs import write_window_pack

PATTERNS = [
    {"name": "bad", "category": "crime_other", "words": ["doom", "pale"], "score": 0.9},
    {"name": "card", "category": "payment_card", "match": r"\d{4}", "longest": 4, "score": 0.9},
]
CATEGORIES = ("crime_other", "payment_card")
CALM, ALARM, MISSED = "a b c d e", "a doom b c d", "a fool b c d"


@pytest.fixture
def packs(tmp_path):
    points = {name: {1: 0.5, 2: 0.7, 3: 0.9} for name in CATEGORIES}
    cheap = write_lexical_pack(
        tmp_path / "cheap",
        PATTERNS,
        categories=list(CATEGORIES),
        operating_points=dict.fromkeys(("user", "assistant"), points),
    )
    return {"cheap": cheap, "dear": write_window_pack(tmp_path / "dear", name="dear")}


@pytest.fixture
def policy(tmp_path, packs):
    def write(entries: str, *categories: str):
        path = tmp_path / "policy.yaml"
        judged = "".join(
            f"  {name}: {{assistant: {{interventions: {{2: annotate}}}}}}\n" for name in categories
        )
        path.write_text(f"version: 1\nname: gates\npacks: {entries.format(**packs)}\ncategories:\n{judged}")
        return path

    return write


GATED = "[{cheap}, {{pack: {dear}, gated_by: {{pack: {cheap}, threshold: 0.2}}}}]"
SILENT = GATED.replace("[{cheap}", "[{{pack: {cheap}, gates_only: true}}")


@pytest.fixture
def scored(tmp_path):
    """Scores texts as ``guardrail score`` does; the answers, and the tokens the network was fed for each text."""

    async def run(path, *texts, packs=()):
        sidecar = assemble(Settings(policy=path, packs=packs, provider="cpu", threads=1), offline=True)
        answers, fed = [], []
        try:
            dear = next(
                m.scorer for m in getattr(sidecar.scorer, "members", ()) if hasattr(m.scorer, "runner")
            )
            for text in texts:
                before = dear.runner.counts.tokens
                rows = write_rows(tmp_path / "in.jsonl", [{"id": 1, "text": text, "role": "assistant"}])
                await offline.score(sidecar.services, rows, tmp_path / "out.jsonl", lambda _: None)
                answers += read_answers(tmp_path / "out.jsonl")
                fed.append(dear.runner.counts.tokens - before)
        finally:
            sidecar.close()
        return answers, fed

    return run


async def test_a_benign_text_never_asks_the_heavy_pack_and_a_risky_one_does(policy, scored):
    path = policy(GATED, "violence", "hate_harassment")
    (calm, alarm, missed), fed = await scored(path, CALM, ALARM, MISSED)
    assert (fed[0], fed[1] > 0, fed[2]) == (0, True, 0)
    assert (calm["flagged"], alarm["flagged"], missed["flagged"]) == (False, True, False)
    assert (alarm["category"], alarm["onset"]) == ("violence", 2)


async def test_without_its_gate_the_heavy_pack_finds_what_the_gate_hid(policy, packs, scored):
    """``--pack`` stands for the whole of ``packs``."""
    path = policy(GATED, "violence", "hate_harassment")
    (missed,), (fed,) = await scored(path, MISSED, packs=(str(packs["cheap"]), str(packs["dear"])))
    assert (missed["flagged"], fed > 0) == (True, True)


async def test_the_findings_of_a_gate_count_as_any_packs(policy, scored):
    path = policy(GATED, "crime_other", "payment_card", "violence")
    (card,), (fed,) = await scored(path, "a 1234 doom b")
    assert card["max"]["payment_card"] == card["max"]["crime_other"] == 0.9
    assert card["flagged"]
    assert fed > 0


async def test_a_pack_that_only_gates_is_heard_in_nothing(policy, scored):
    (alarm,), (fed,) = await scored(policy(SILENT, "violence", "hate_harassment"), ALARM)
    assert (set(alarm["max"]), alarm["category"], fed > 0) == (
        {"hate_harassment", "violence"},
        "violence",
        True,
    )
    with pytest.raises(ConfigError, match=r"categories\.crime_other: is not scored by pack dear"):
        load_checked_policy(policy(SILENT, "crime_other"))


async def test_only_some_categories_of_a_gate_may_open(policy, scored):
    entries = GATED.replace("0.2", "0.2, categories: [payment_card]")
    _, fed = await scored(policy(entries, "violence"), ALARM, "a 1234 doom b")
    assert (fed[0], fed[1] > 0) == (0, True)


@pytest.mark.parametrize("cut", [whole, by_character, lambda text: randomly(text, seed=1)])
async def test_a_stream_is_replayed_alike_however_it_was_cut(policy, tmp_path, cut):  # invariant 3
    path = policy(GATED, "violence")
    path.write_text(path.read_text().replace("2: annotate", "2: replace"))
    sidecar = assemble(Settings(policy=path, provider="cpu", threads=1), offline=True)
    rows = write_rows(tmp_path / "in.jsonl", [{"id": 1, "chunks": cut("a fool b. So it is doom a b c.")}])
    try:
        await offline.replay(sidecar.services, rows, tmp_path / "out.jsonl", lambda _: None)
    finally:
        sidecar.close()
    (answer,) = read_answers(tmp_path / "out.jsonl")
    (done,) = answer["interventions"]
    assert (done["kind"], done["category"], answer["client_text"][:10]) == (
        "replace",
        "violence",
        "a fool b. ",
    )
    assert "doom" not in answer["client_text"]


def test_categories_that_the_gate_does_not_score_are_refused(policy):
    with pytest.raises(ConfigError) as caught:
        load_checked_policy(policy(GATED.replace("0.2", "0.2, categories: [drugs]"), "violence"))
    assert caught.value.key == "packs.1.gated_by.categories"
    assert caught.value.reason == "drugs is not scored by cheap; scored are crime_other, payment_card"


def test_a_gate_that_does_not_read_what_the_other_judges_is_refused(policy, packs):
    write_lexical_pack(packs["cheap"], roles={"user": False, "assistant": True, "system": False})
    path = policy(GATED, "violence", "secret_credential")
    load_checked_policy(path)  # judges the assistant alone
    path.write_text(
        path.read_text().replace("{assistant:", "{user: {interventions: {2: annotate}}, assistant:")
    )
    with pytest.raises(ConfigError) as caught:
        load_checked_policy(path)
    assert caught.value.key == "packs.1.gated_by.pack"
    assert caught.value.reason == "cheap does not read what the user says: dear would never be asked there"


def test_what_gates_what_is_told(policy, capsys):
    path = policy(SILENT, "violence")
    checked, packs = load_checked_policy(path)
    told = ["cheap 1 (only gates)", "dear 1 (gated by cheap from 0.2)"]
    assert described(checked, packs) == told
    assert main(["check-config", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pack"] == ", ".join(told)


def test_the_shipped_packs_can_gate_each_other(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 1\nname: x\npacks: [entities, {pack: default, gated_by: {pack: entities, threshold: 0.2}}]\n"
        "categories: {violence: {assistant: {interventions: {3: replace}}}}\n"
    )
    _, packs = load_checked_policy(path)
    assert [pack.name for pack in packs] == ["entities", "default"]
    assert packs[0].judged >= load_pack("default").judged


@pytest.mark.parametrize(
    "elsewhere",
    ["[{cheap}, {dear}]", GATED.replace("0.2", "0.3"), SILENT],
    ids=["ungated", "threshold", "silent"],
)
async def test_an_engine_that_gates_in_another_way_is_another_engine(policy, tmp_path, elsewhere):
    settings = Settings(policy=policy(elsewhere, "violence"), provider="cpu", threads=1)
    scorer, engine = load_engine(settings)
    try:
        listening = Listening(address=f"unix:{tmp_path / 'e.sock'}")
        async with serving(scorer, engine, listening, grace_s=0.0) as (address, _):
            same = assemble(Settings(policy=settings.policy, engine=address), offline=True)
            await same.scorer.start(10)
            assert list(same.scorer.categories) == list(scorer.categories)
            await same.scorer.stop()
            other = assemble(Settings(policy=policy(GATED, "violence"), engine=address), offline=True)
            with pytest.raises(ConfigError, match=r"was checked against .*dear gated by cheap from 0\.2 1 "):
                await other.scorer.start(10)
            await other.scorer.stop()
    finally:
        scorer.close()
