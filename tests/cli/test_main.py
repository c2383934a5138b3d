"""The command line as scripts see it: output, errors and exit codes (0 done, 1 failed, 2 bad input or usage)."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import pytest
import yaml

import guardrail
from guardrail.app import doctor, wiring
from guardrail.app.envoy_process import find_envoy
from guardrail.cli.flags import build_parser
from guardrail.cli.main import _COMMANDS, main
from guardrail.engine import cuda
from guardrail.errors import ConfigError
from tests.app.helpers import POLICY, FakeEngine, read_answers, write_pack, write_rows
from tests.engine.window_packs import write_window_pack

PARSERS = next(
    action.choices for action in build_parser({})._actions if isinstance(action, argparse._SubParsersAction)
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in os.environ:
        if name.startswith("GUARDRAIL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def policy_file(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(f"pack: {write_pack(tmp_path / 'toy')}\n{POLICY}")
    return path


@pytest.fixture
def engine(monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(wiring, "load_scorer", lambda *_, **__: engine)
    monkeypatch.setattr(doctor, "load_scorer", lambda *_, **__: engine)
    return engine


# -- help ------------------------------------------------------------------------------------------


def test_every_command_is_carried_out_by_something():
    assert set(_COMMANDS) == set(PARSERS)


@pytest.mark.parametrize("command", PARSERS)
def test_the_help_of_a_command_names_every_flag_and_what_it_is_for(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for action in PARSERS[command]._actions:
        assert action.help, action.dest
        for name in action.option_strings:
            assert name in out
    assert "Exit codes: 0 done, 1 failed, 2 bad input or usage." in " ".join(out.split())


def test_the_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in PARSERS)


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"guardrail {guardrail.__version__}\n"


def test_a_bad_variable_of_the_environment_exits_with_2_and_its_name(monkeypatch, capsys):
    monkeypatch.setenv("GUARDRAIL_THREADS", "many")
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "guardrail: GUARDRAIL_THREADS: 'many' is not a valid value\n"


# -- check-config ----------------------------------------------------------------------------------


def test_a_good_policy_is_ok(policy_file, capsys):
    assert main(["check-config", str(policy_file)]) == 0
    assert capsys.readouterr().out == f"{policy_file}: ok: policy small, pack toy 1\n"


def test_a_good_policy_is_ok_in_json(policy_file, capsys):
    assert main(["check-config", str(policy_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "name": "small", "pack": "toy 1"}


def test_a_typo_exits_with_2_naming_file_line_key_and_reason(policy_file, capsys):
    policy_file.write_text(policy_file.read_text().replace("  violence:", "  violense:"))
    assert main(["check-config", str(policy_file)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(
        f"guardrail: {policy_file}:5: categories.violense: unknown category; did you mean"
    )
    assert "Traceback" not in told.err


def test_a_typo_is_told_in_json(policy_file, capsys):
    policy_file.write_text(policy_file.read_text().replace("version: 1", "verzion: 1"))
    assert main(["check-config", str(policy_file), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert {key: answer[key] for key in ("ok", "file", "line", "key")} == {
        "ok": False,
        "file": str(policy_file),
        "line": 2,
        "key": "verzion",
    }
    assert "did you mean 'version'?" in answer["reason"]


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_a_missing_policy_exits_with_2(tmp_path, json_flag):
    assert main(["check-config", str(tmp_path / "nowhere.yaml"), *json_flag]) == 2


def test_a_policy_that_names_no_pack_there_is_exits_with_2(policy_file, capsys):
    policy_file.write_text(f"pack: nosuchpack\n{POLICY}")
    assert main(["check-config", str(policy_file)]) == 2
    assert f"{policy_file}: pack: " in capsys.readouterr().err


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_a_broken_pack_asked_for_by_flag_exits_with_1(policy_file, tmp_path, capsys, json_flag):
    (tmp_path / "toy" / "model.onnx").write_bytes(b"broken")
    assert main(["check-config", str(policy_file), "--pack", str(tmp_path / "toy"), *json_flag]) == 1
    told = capsys.readouterr()
    if json_flag:
        assert not json.loads(told.out)["ok"]
    assert "checksum" in told.out + told.err


# -- score and replay ------------------------------------------------------------------------------


def offline(command, policy_file, tmp_path, rows):
    source, target = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    code = main([command, "--policy", str(policy_file), "--input", str(source), "--output", str(target)])
    return code, read_answers(target) if target.exists() else None


def test_score_writes_an_answer_a_row(policy_file, tmp_path, engine, capsys):
    rows = [{"id": n, "text": text, "role": "assistant"} for n, text in enumerate(["fine", "doom doom"])]
    code, answers = offline("score", policy_file, tmp_path, rows)
    assert code == 0
    assert [answer["flagged"] for answer in answers] == [False, True]
    assert "2 rows written" in capsys.readouterr().err
    assert engine.closed


WINDOW_POLICY = """\
version: 1
name: windows
categories:
  violence:
    user: {interventions: {2: redirect}}
    assistant: {interventions: {2: replace, 3: replace}}
"""


def test_score_runs_a_window_pack_with_a_real_network(tmp_path):
    pack = write_window_pack(tmp_path / "toy-window")
    policy = tmp_path / "windows.yaml"
    policy.write_text(f"pack: {pack}\n{WINDOW_POLICY}")
    rows = [
        {"id": 1, "text": "the cat sat. the doom is that the cat sat! a cat", "role": "assistant"},
        {"id": 2, "text": "the cat sat. the cat sat!", "role": "assistant"},
        {"id": 3, "text": "the cat sat. the doom", "role": "user"},
        {
            "id": 4,
            "text": "the cat " * 100,
            "role": "assistant",
            "messages": [{"role": "user", "content": "a cat"}],
        },
        {"id": 5, "text": "", "role": "user"},
    ]
    code, answers = offline("score", policy, tmp_path, rows)

    assert code == 0
    assert [answer["flagged"] for answer in answers] == [True, False, True, False, False]
    assert [answer["category"] for answer in answers] == ["violence", None, "violence", None, None]
    assert (answers[0]["onset"], answers[2]["onset"]) == (17, 17)
    assert set(answers[3]["max"]) == {"hate_harassment", "violence"}


def test_replay_and_doctor_run_a_window_pack(tmp_path, capsys):
    pack = write_window_pack(tmp_path / "toy-window")
    policy = tmp_path / "windows.yaml"
    policy.write_text(f"pack: {pack}\n{WINDOW_POLICY}")
    chunks = ["the cat", " sat. The do", "om is", " that the cat ", "sat! And so on."]
    row = {"id": "a", "messages": [{"role": "user", "content": "a cat"}], "chunks": chunks}
    code, (answer,) = offline("replay", policy, tmp_path, [row])

    assert code == 0
    assert answer["interventions"][0]["category"] == "violence"
    assert answer["client_text"].startswith("the cat sat.")
    assert "doom" not in answer["client_text"]

    capsys.readouterr()
    assert main(["doctor", "--policy", str(policy), "--provider", "cpu"]) == 0
    out = capsys.readouterr().out
    assert f"OK    pack: toy-window 1 (window) in {pack}, checksums match" in out
    assert "OK    provider: asked for cpu, runs on cpu" in out


def test_replay_uses_the_words_that_ship(policy_file, tmp_path, engine):
    messages = [{"role": "user", "content": "tears"}]
    row = {"id": "a", "messages": messages, "chunks": ["One is said. ", "Two is."], "locale": "de-AT"}
    code, (answer,) = offline("replay", policy_file, tmp_path, [row])
    assert code == 0
    assert answer["interventions"][0]["kind"] == "redirect"
    assert answer["client_text"].startswith("One is said. \n\n")
    assert answer["client_text"].endswith("\n\nTwo is.")


@pytest.mark.parametrize("command", ["score", "replay"])
def test_a_bad_row_exits_with_2_and_its_line(command, policy_file, tmp_path, engine, capsys):
    code, answers = offline(command, policy_file, tmp_path, [{"id": 1}])
    assert (code, answers) == (2, None)
    assert "in.jsonl:1: " in capsys.readouterr().err
    assert engine.closed


def test_scoring_that_fails_exits_with_1(policy_file, tmp_path, engine, capsys):
    engine.fail = lambda _: True
    code, answers = offline("score", policy_file, tmp_path, [{"id": 1, "text": "x", "role": "user"}])
    assert (code, answers) == (1, None)
    assert capsys.readouterr().err == "guardrail: told to fail\n"


# -- envoy-config ----------------------------------------------------------------------------------


def test_a_whole_configuration_is_printed_as_yaml(capsys):
    assert main(["envoy-config", "--upstream", "http://127.0.0.1:8000"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert [cluster["name"] for cluster in config["static_resources"]["clusters"]] == [
        "upstream",
        "guardrail",
    ]


def test_the_filter_alone_is_printed_as_yaml(capsys):
    assert main(["envoy-config", "--filter-only", "--sidecar", "unix:/run/g.sock"]) == 0
    assert set(yaml.safe_load(capsys.readouterr().out)) == {"http_filters", "clusters"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--upstream", "localhost"],
        ["--upstream", "http://x", "--listen", "nowhere"],
        ["--upstream", "http://x", "--sidecar", "nowhere"],
    ],
    ids=" ".join,
)
def test_a_configuration_that_cannot_be_exits_with_2(arguments, capsys):
    assert main(["envoy-config", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("guardrail: --")


@pytest.mark.e2e
def test_envoy_itself_accepts_what_is_printed(capsys, tmp_path):
    try:
        envoy = find_envoy()
    except ConfigError as error:
        pytest.skip(str(error))
    assert main(["envoy-config", "--upstream", "https://api.example.org/base"]) == 0
    path = tmp_path / "envoy.yaml"
    path.write_text(capsys.readouterr().out)
    told = subprocess.run(
        [envoy, "--mode", "validate", "-c", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr


# -- up and serve: refused before anything starts --------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--upstream", "not a url"],
        ["up", "--upstream", "http://x", "--listen", "nowhere"],
        ["serve", "--listen", "nowhere"],
        ["serve", "--policy", "nowhere.yaml"],
        ["up", "--upstream", "http://x", "--policy", "nowhere.yaml"],
    ],
    ids=" ".join,
)
def test_a_server_that_cannot_start_exits_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert "ready" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["serve", "--listen", "127.0.0.1:0"], ["up", "--upstream", "http://x"]], ids=" ".join
)
def test_a_server_that_is_to_run_on_cuda_and_cannot_exits_with_1_and_says_what_to_install(
    arguments, monkeypatch, capsys
):
    monkeypatch.setattr(cuda, "_loads", lambda _: False)
    monkeypatch.setattr(
        cuda.ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    assert main([*arguments, "--provider", "cuda"]) == 1
    told = capsys.readouterr()
    assert "ready" not in told.out
    assert "guardrail: CUDA was asked for and cannot be used: there is no NVIDIA driver" in told.err
    assert "CUDA's libraries are missing" in told.err


# -- doctor ----------------------------------------------------------------------------------------


def test_doctor_answers_for_people_and_for_scripts(policy_file, engine, capsys):
    code = main(["doctor", "--policy", str(policy_file), "--provider", "cpu"])
    people = capsys.readouterr().out
    assert main(["doctor", "--policy", str(policy_file), "--provider", "cpu", "--json"]) == code
    checks = json.loads(capsys.readouterr().out)
    assert {check["state"] for check in checks} <= {"ok", "warn", "fail"}
    for check in checks:
        assert f"{check['state'].upper():4}  {check['name']}: " in people


def test_doctor_exits_with_1_when_something_does_not_work(policy_file, engine, capsys):
    policy_file.write_text("version: 1\n")
    assert main(["doctor", "--policy", str(policy_file)]) == 1
    assert "FAIL  policy and pack" in capsys.readouterr().out


# -- the process -----------------------------------------------------------------------------------


def guardrail_process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "guardrail", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_the_module_is_the_command():
    told = guardrail_process("--version")
    assert (told.returncode, told.stdout) == (0, f"guardrail {guardrail.__version__}\n")


def test_an_error_is_one_line_and_no_traceback():
    told = guardrail_process("check-config", "nowhere.yaml")
    assert told.returncode == 2
    assert told.stderr == "guardrail: nowhere.yaml: No such file or directory\n"
    assert told.stdout == ""


def test_a_reader_that_leaves_is_no_traceback():
    # head(1) closes its end of the pipe after the first bytes.
    command = [sys.executable, "-m", "guardrail", "envoy-config", "--upstream", "http://x"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        told = subprocess.run(
            command, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    finally:
        os.close(write_end)
    assert told.returncode == 1
    assert told.stderr == ""
