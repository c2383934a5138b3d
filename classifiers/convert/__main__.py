"""Turn a Hugging Face guard model into a pack that the sidecar runs.

SOURCE is a folder in the hub's layout (config.json, model.safetensors, tokenizer.json) or a hub id.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from classifiers.convert import causal, decoder, window
from classifiers.convert.errors import ConversionError, VerificationError
from classifiers.convert.manifest import MODEL, Naming
from classifiers.convert.maps import known_maps, map_for
from classifiers.convert.nodes import WEIGHTS
from classifiers.convert.policy import POLICY, first_policy
from classifiers.convert.source import Source, find
from classifiers.convert.verify import Verified, verify


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    known = ", ".join(known_maps())
    made = argparse.ArgumentParser(prog="python -m classifiers.convert", description=__doc__)
    made.add_argument("source", metavar="SOURCE", help="folder, or hub id (owner/name)")
    made.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the pack goes")
    made.add_argument("--name", default="", help="of the pack; the model's unless given")
    made.add_argument("--version", default="1", help="of the pack (default: 1)")
    made.add_argument("--license", default="", help="of the model, where its README.md names none")
    made.add_argument(
        "--languages", default="", metavar="L,L", help="of the model, where its README.md names none"
    )
    made.add_argument("--revision", help="branch, tag or commit on the hub")
    made.add_argument(
        "--categories",
        metavar="FILE_OR_NAME",
        help=f"what the model's labels mean: a YAML file, or a known map ({known}); the one that fits unless given",
    )
    made.add_argument("--force", action="store_true", help="write over a pack that is there")
    tokens = made.add_argument_group("models whose tokens look left only (family causal)")
    tokens.add_argument(
        "--precision",
        choices=("float", "int8"),
        default="float",
        help="how weights are stored; arithmetic is float either way (default: float)",
    )
    tokens.add_argument(
        "--max-positions",
        type=int,
        default=causal.DEFAULT_POSITIONS,
        metavar="N",
        help=f"tokens a stream is seen with at once (default: {causal.DEFAULT_POSITIONS}, or the model's limit)",
    )
    tokens.add_argument(
        "--turns", help="how turns are written: chatml, qwen3guard, llama3, plain; what fits unless given"
    )
    both = made.add_argument_group(
        "classifiers that look both ways (family window; needs torch and transformers)"
    )
    both.add_argument(
        "--max-tokens",
        type=int,
        default=window.DEFAULT_TOKENS,
        metavar="N",
        help=f"of a window (default: {window.DEFAULT_TOKENS})",
    )
    both.add_argument(
        "--stride", type=int, metavar="N", help="tokens between beginnings of windows (default: a quarter)"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, verify, say what was made; the exit code."""
    args = build_parser().parse_args(arguments)
    try:
        convert(args)
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, VerificationError) else 2
    return 0


def convert(args: argparse.Namespace) -> None:
    """What the command does.

    Raises:
        ConversionError: it cannot be done.
    """
    output: Path = args.output
    if output.exists() and any(output.iterdir()) and not args.force:
        raise ConversionError(f"{output}: is there and not empty; --force writes over it")
    source = find(args.source, args.revision)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".unverified-") as place:
        content = write(Path(place), source, args)
        mapping = map_for(source, args.categories, causal.labels_of(source))[1]
        found = verify(Path(place), source, mapping, exact=args.precision == "float")
        output.mkdir(exist_ok=True)
        for file in Path(place).iterdir():
            file.replace(output / file.name)
    (output / POLICY).write_text(first_policy(output, content), encoding="utf-8")
    print(summary(output, source, content, found))


def write(place: Path, source: Source, args: argparse.Namespace) -> dict[str, Any]:
    """Write the pack that fits the model to ``place``; its manifest.

    Raises:
        ConversionError: none does, or it cannot be made.
    """
    languages = [each.strip() for each in args.languages.split(",") if each.strip()]
    naming = Naming(args.name, args.version, args.license, languages)
    if causal.is_causal(source):
        options = causal.CausalOptions(args.precision, args.max_positions, args.turns, args.categories)
        return causal.convert(source, place, naming, options)
    if window.is_window(source):
        if args.precision != "float":
            raise ConversionError("--precision int8 is for models whose tokens look left only")
        sizes = window.WindowOptions(args.max_tokens, args.stride, args.categories)
        return window.convert(source, place, naming, sizes)
    raise ConversionError(
        f"{source.origin}: {source.architecture or 'no architecture in config.json'}: cannot be converted. Can be: "
        "classifiers of sequences (BERT, RoBERTa, DeBERTa and their kin), classifiers of tokens or sequences on a "
        f"decoder ({', '.join(decoder.MODEL_TYPES)}), of tokens on a BERT with is_decoder: true, {causal.GUARD}"
    )


def summary(output: Path, source: Source, content: Mapping[str, Any], found: Verified) -> str:
    """What was made, for people."""
    size = sum(file.stat().st_size for file in output.iterdir() if file.name in {MODEL, WEIGHTS}) / 1e6
    origin = content["origin"]
    lines = [
        f"{output}: pack {content['name']}/{content['version']}, family {content['family']}, {size:,.1f} MB",
        f"from        {source.origin} ({source.architecture}), licence {content['license']}",
        f"labels      map {origin['map']}: {', '.join(content['categories'])}",
        f"judges      {', '.join(content['operating_points'])}",
    ]
    if content["family"] == "causal":
        positions = content["max_positions"]
        state = 8 * content["layers"] * content["heads"] * content["head_dim"]
        whole = state * positions / 2**20
        lines += [
            f"turns       {origin['turns']}, tokenized in {content['tokenization']}",
            f"state       {state / 1024:,.0f} KiB a token; at most {positions:,}, {whole:,.0f} MiB, a stream",
        ]
    else:
        lines.append(f"windows     {content['max_tokens']} tokens, every {content['stride']}")
    against = (
        "not compared with the framework: torch and transformers are not installed"
        if found.framework_gap is None
        else f"the framework's own within {found.framework_gap:.1g}"
    )
    lines += [
        f"verified    the same in one piece and word by word within {found.pieces_gap:.1g}; {against}",
        f"speed       {found.tokens_per_second:,.0f} tokens/s, one stream, a text in one piece, this CPU",
        "",
        "Scores are the model's own probabilities; the operating points are defaults that nobody measured. Measure them on",
        "labelled text, and name the thresholds you choose in the policy, or in the pack's manifest.yaml:",
        f"  python -m classifiers.evaluate --data rows.jsonl --output report --pack {output}",
        "To guard with it, under the default policy as far as the pack goes:",
        f"  guardrail up --upstream URL --policy {output / POLICY}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
