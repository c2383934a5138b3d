"""A sequence classifier that looks both ways, to a pack of family ``window``; needs torch and transformers.

Exported by torch, from transformers' own class: DeBERTa's relative positions alone would be as much code as all of the
causal networks, and another copy of what the framework says can only differ from it (ADR 19).
"""

from __future__ import annotations

import inspect
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from classifiers.convert.causal import activation_of
from classifiers.convert.errors import ConversionError
from classifiers.convert.manifest import MODEL, TOKENIZER, Naming, license_of, manifest, unmeasured, write
from classifiers.convert.maps import in_order, map_for
from classifiers.convert.nodes import save
from classifiers.convert.source import Source
from guardrail.core.verdicts import Role

OPSET = 18
ARCHITECTURE = "ForSequenceClassification"
DEFAULT_TOKENS = 128
"""Of a window, unless asked for more: every word of an answer costs one (docs/adr/0012)."""
_LEAST_TOKENS = 16
_RESERVED_POSITIONS = {"roberta": 2, "xlm-roberta": 2, "camembert": 2}
"""Positions that a model counts and never gives to a token."""


@dataclass(frozen=True)
class WindowOptions:
    """What may be asked for."""

    max_tokens: int = DEFAULT_TOKENS
    stride: int | None = None
    """A quarter of a window unless given."""
    categories: str | None = None
    """A map of labels, by name or file; the known one that fits, unless given."""


def is_window(source: Source) -> bool:
    """Whether it judges a text as a whole."""
    return source.architecture.endswith(ARCHITECTURE)


def convert(source: Source, output: Path, naming: Naming, options: WindowOptions) -> dict[str, Any]:
    """Write the pack; its manifest.

    Raises:
        ConversionError: the model cannot be made one.
    """
    license_of(source, naming)
    map_name, mapping = map_for(source, options.categories, source.labels)
    fed = mapping.categories_of(source.labels)
    categories = in_order(fed)
    max_tokens = _tokens(source, options.max_tokens)
    stride = options.stride or max_tokens // 4
    if 2 * stride > max_tokens:
        raise ConversionError(f"--stride {stride}: must be at most half of the window's {max_tokens} tokens")
    output.mkdir(parents=True, exist_ok=True)
    inputs, data = export(source, output / MODEL)
    shutil.copyfile(source.directory / TOKENIZER, output / TOKENIZER)
    where = {Role.USER: "sentences", Role.ASSISTANT: "words"}
    content = {
        **manifest(output, source, naming, "window", OPSET, weights=data, map=map_name),
        "inputs": inputs,
        "activation": activation_of(source, mapping),
        "labels": source.labels,
        "categories": {
            name: [label for label, several in zip(source.labels, fed, strict=True) if name in several]
            for name in categories
        },
        "max_tokens": max_tokens,
        "stride": stride,
        "roles": {
            role.value: {"judged_at": where[role] if role in mapping.judged else "never"} for role in Role
        },
        **unmeasured(mapping, dict.fromkeys(mapping.judged, categories), categories),
    }
    write(output, content)
    return content


def framework() -> tuple[Any, Any]:
    """Torch and transformers.

    Raises:
        ConversionError: they are missing.
    """
    try:
        import torch  # noqa: PLC0415 - only this family needs them
        import transformers  # noqa: PLC0415
    except ImportError as error:
        raise ConversionError(
            f"a classifier that looks both ways is exported by torch and transformers: {error}. "
            "pip install 'guardrail[convert-torch]'"
        ) from error
    transformers.logging.set_verbosity_error()  # it reports on every weight that a body has no use for
    transformers.logging.disable_progress_bar()
    return torch, transformers


def export(source: Source, path: Path) -> tuple[list[str], Path | None]:
    """Write the network; the names of what it takes, and the file of its weights if they do not fit into one.

    Raises:
        ConversionError: torch or transformers are missing, or cannot make it.
    """
    torch, transformers = framework()
    try:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            source.directory, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    except Exception as error:
        raise ConversionError(f"transformers cannot load it: {type(error).__name__}: {error}") from error
    inputs = ["input_ids", "attention_mask"]
    takes_types = "token_type_ids" in inspect.signature(model.forward).parameters
    if takes_types and int(source.config.get("type_vocab_size") or 0) > 1:
        inputs.append("token_type_ids")

    class Logits(torch.nn.Module):  # type: ignore[misc, name-defined]
        """The model as a function of its tensors alone."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            return self.model(**dict(zip(inputs, tensors, strict=True))).logits

    axes = {name: {0: "B", 1: "T"} for name in inputs} | {"logits": {0: "B"}}
    example = tuple(torch.ones(2, 16, dtype=torch.int64) for _ in inputs)
    with TemporaryDirectory() as place, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # the tracer's, of shapes that it reads as constants: the pack is verified
        traced = Path(place) / MODEL
        torch.onnx.export(
            Logits(), example, str(traced), input_names=inputs, output_names=["logits"], dynamic_axes=axes,
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
        return inputs, save(onnx.load(str(traced)), path)


def _tokens(source: Source, asked: int) -> int:
    positions = int(source.config.get("max_position_embeddings") or 512)
    most = positions - _RESERVED_POSITIONS.get(str(source.config.get("model_type")), 0)
    if asked < _LEAST_TOKENS:
        raise ConversionError(f"--max-tokens {asked}: a window has {_LEAST_TOKENS} tokens at least")
    return min(asked, most)
