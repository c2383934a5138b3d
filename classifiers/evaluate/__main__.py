"""The command: `python -m classifiers.evaluate --data FILE --output DIR`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

try:
    from classifiers.evaluate import page, plots, report, rows, scoring, summary
    from classifiers.evaluate.judging import chosen_policy, prepare
except ModuleNotFoundError as error:  # pragma: no cover - tests have the extra
    if error.name not in {"sklearn", "matplotlib"}:
        raise
    sys.exit(f"evaluate: {error.name} is missing; it comes with the extra: pip install -e '.[evaluate]'")

from guardrail.engine.loading import load_scorers
from guardrail.engine.pack import load_pack
from guardrail.errors import ConfigError, GuardrailError, InputError
from guardrail.telemetry import configure_logging

PROGRAM = "python -m classifiers.evaluate"
_PROGRESS_EVERY = 20
_VERSIONS_OF = ("guardrail", "numpy", "onnxruntime", "scikit-learn", "tokenizers")
_EPILOG = """\
Writes report.json (every number), report.html (the same to read, with plots) and rows.jsonl (what was found in
which row; no texts) to the output directory, and a summary to standard output.
Exit codes: 0 done, 1 failed, 2 bad input or usage.

A row is a JSON object a line: id, src, role (user, assistant), text, harm (1, 0, or null: no verdict); where known
lang, labels {category: severity 0 to 3}, prompt or messages (the turns before), group (which kind of benign row),
onset (code point of text at which it turns harmful)."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure a classifier pack on labelled rows, as a stream would have seen them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="labelled rows, .jsonl or .jsonl.gz; may be given several times",
    )
    add("--output", type=Path, required=True, metavar="DIR", help="where the report goes; made if missing")
    add(
        "--pack",
        default="default",
        metavar="NAME_OR_DIR",
        help="classifier pack, or several, comma-separated (default: %(default)s)",
    )
    add(
        "--policy",
        type=Path,
        metavar="FILE",
        help="judge by this policy; without it by all of the pack's own operating points",
    )
    add(
        "--limit",
        type=_positive,
        metavar="N",
        help="at most N rows of each source: a sample, the same one each time",
    )
    add(
        "--provider",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the classifier runs; cuda fails where CUDA does not work (default: %(default)s)",
    )
    add(
        "--threads",
        type=_natural,
        default=0,
        metavar="N",
        help="CPU threads of a scoring step; 0: one a core",
    )
    add(
        "--concurrency",
        type=_positive,
        default=32,
        metavar="N",
        help="rows under way at a time; changes the speed, not the scores (default: %(default)s)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = build_parser().parse_args(arguments)
    configure_logging("warning", "text")
    try:
        _evaluate(options)
    except (ConfigError, InputError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    except GuardrailError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _evaluate(options: argparse.Namespace) -> None:
    labelled = rows.read(options.data, options.limit)
    packs = [load_pack(name) for name in options.pack.split(",")]
    policy = chosen_policy(packs, options.policy)
    # Before the long work: a directory that cannot be written to is found at the end of it otherwise.
    _make_directory(options.output)
    scorer = load_scorers(packs, options.provider, intra_op_threads=options.threads)
    try:
        judging = prepare(scorer, policy)
        judged = asyncio.run(scoring.judge(judging, labelled, options.concurrency, _progress()))
    finally:
        scorer.close()
    run = {
        "command": {name: _plain(value) for name, value in vars(options).items()},
        "pack": {
            key: " + ".join(getattr(pack, key) for pack in packs) for key in ("name", "version", "family")
        },
        "provider": scorer.provider,
        "why_not_cuda": scorer.why_not_cuda,
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine()},
        "versions": {"python": platform.python_version(), **_versions()},
    }
    result = report.build(judging, judged, run)
    _write(options.output / "report.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    _write(options.output / "report.html", page.render(result, plots.draw(result)))
    lines = report.row_lines(judged, judging)
    _write(options.output / "rows.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    print(summary.summarise(result))
    print(f"report: {options.output / 'report.html'}")


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error)) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error)) from error


def _plain(value: object) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _versions() -> dict[str, str]:
    return {name: _version(name) for name in _VERSIONS_OF}


def _version(name: str) -> str:
    """Of an installed package; the runtime is installed under one of two names, and a checkout under none."""
    for installed in (name, f"{name}-gpu"):
        try:
            return version(installed)
        except ModuleNotFoundError:
            continue
    return "not installed"


def _progress() -> scoring.Progress:
    """Shows progress where a person is watching."""
    if not sys.stderr.isatty():
        return lambda _done, _rows: None

    def show(done: int, total: int) -> None:
        if done % _PROGRESS_EVERY == 0 or done == total:
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} rows", end=end, file=sys.stderr, flush=True)

    return show


def _natural(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError(value)
    return number


def _positive(value: str) -> int:
    if _natural(value) < 1:
        raise ValueError(value)
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
