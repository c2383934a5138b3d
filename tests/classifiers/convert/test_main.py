"""The command, from a model's folder to a pack that the sidecar's own commands take."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("onnx", reason="conversion needs onnx (the extra `convert`, part of `test`)")

from classifiers.convert import verify as verify_module
from classifiers.convert.__main__ import main
from guardrail.cli.main import main as guardrail
from guardrail.engine.pack import load_pack
from tests.classifiers.convert.tiny import write_model


@pytest.fixture(autouse=True)
def _no_framework(monkeypatch):
    """Whether torch is installed must not matter here; test_framework.py compares with it."""
    monkeypatch.setattr(verify_module.importlib.util, "find_spec", lambda _name: None)


def test_one_command_makes_a_pack_that_guards(tmp_path, capsys):
    write_model(tmp_path / "Tiny-Guard", "guard")
    pack = tmp_path / "packs" / "guard"

    code = main(
        [
            str(tmp_path / "Tiny-Guard"),
            "--output",
            str(pack),
            "--license",
            "Apache-2.0",
            "--languages",
            "en, zh",
        ]
    )

    said = capsys.readouterr().out
    assert code == 0
    assert "pack tiny-guard/1, family causal" in said
    assert "map qwen3guard-stream: self_harm, privacy_pii, sexual, violence" in said
    assert "not compared with the framework" in said
    assert sorted(file.name for file in pack.iterdir()) == [
        "manifest.yaml",
        "model.onnx",
        "policy.yaml",
        "tokenizer.json",
    ]
    assert sorted(file.name for file in pack.parent.iterdir()) == ["guard"]
    found = load_pack(pack)
    assert (found.name, found.license, found.languages) == ("tiny-guard", "Apache-2.0", ("en", "zh"))
    assert guardrail(["check-config", str(pack / "policy.yaml")]) == 0
    rows, scored = tmp_path / "rows.jsonl", tmp_path / "scored.jsonl"
    rows.write_text(
        json.dumps(
            {
                "id": "1",
                "role": "assistant",
                "text": "the cat.\n\n漢字",
                "messages": [{"role": "user", "content": "a?"}],
            }
        )
        + "\n"
    )
    assert (
        guardrail(
            ["score", "--input", str(rows), "--output", str(scored), "--policy", str(pack / "policy.yaml")]
        )
        == 0
    )
    assert set(json.loads(scored.read_text())["max"]) == set(found.categories)


def test_a_pack_that_is_there_is_not_written_over_unasked(tmp_path, capsys):
    model = write_model(tmp_path / "model", "guard")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "mine").write_text("keep")
    command = [str(model), "--output", str(tmp_path / "pack"), "--license", "x"]

    assert main(command) == 2
    assert "--force writes over it" in capsys.readouterr().err
    assert main([*command, "--force", "--version", "2"]) == 0
    assert load_pack(tmp_path / "pack").version == "2"
    assert (tmp_path / "pack" / "mine").read_text() == "keep"


@pytest.mark.parametrize(
    ("made", "options", "reason"),
    [
        (("guard", {}), [], "names no licence: say which it is with --license"),
        (("guard", {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}), ["--license", "x"],
         "GPT2LMHeadModel: cannot be converted. Can be: classifiers of sequences (BERT, RoBERTa"),
        (("guard", {"architectures": None, "model_type": "x"}), ["--license", "x"], "no architecture in config.json"),
        (("guard", {}), ["--license", "x", "--categories", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (("guard", {}), ["--license", "x", "--turns", "llama3"], "turns 'llama3': the tokenizer has no token"),
        (("qwen3-tokens", {}), ["--license", "x"], "nothing says what these labels mean: ['fine', 'insult', 'threat']"),
        (("bert-tokens", {"architectures": ["BertForSequenceClassification"], "is_decoder": False}),          ["--license", "x", "--precision", "int8"], "--precision int8 is for models whose tokens look left only"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_and_leaves_nothing(made, options, reason, tmp_path, capsys):
    name, changes = made
    model = write_model(tmp_path / "model", name, **changes)

    assert main([str(model), "--output", str(tmp_path / "pack"), *options]) == 2
    assert reason in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model"]


def test_a_pack_whose_scores_depend_on_the_cuts_is_not_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verify_module, "PIECES_TOLERANCE", -1)
    model = write_model(tmp_path / "model", "guard")

    assert main([str(model), "--output", str(tmp_path / "pack"), "--license", "x"]) == 1
    assert "scores depend on how the text is cut" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()
