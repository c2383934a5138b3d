"""Tiny models with weights from a seed, as folders in the hub's layout; numpy alone.

The framework's outputs for them are recorded in ``recorded.json`` by ``record.py``. The old generator is used
because its stream of numbers is frozen.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.engine.chat_packs import chat_tokenizer
from tests.engine.window_packs import toy_tokenizer

HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS = 32, 48, 2, 4, 2
POSITIONS = 256
QUERY_CATEGORIES = [
    "Violent", "Non-violent Illegal Acts", "Sexual Content or Sexual Acts", "PII", "Suicide & Self-Harm",
    "Unethical Acts", "Politically Sensitive Topics", "Copyright Violation", "Jailbreak",
]  # fmt: skip
LEVELS = ["Safe", "Unsafe", "Controversial"]
GUARD_INNER = 16

_DECODER = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEY_HEADS,
    "max_position_embeddings": POSITIONS,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "initializer_range": 0.02,
}


def _numbered(labels):
    return {str(index): label for index, label in enumerate(labels)}


_GUARD_MAPS = {
    "query_risk_level_map": _numbered(LEVELS),
    "response_risk_level_map": _numbered(LEVELS),
    "query_category_map": _numbered(QUERY_CATEGORIES),
    "response_category_map": _numbered(QUERY_CATEGORIES[:-1]),
    "num_risk_level": 3,
    "num_query_risk_level": 3,
    "num_category": 8,
    "num_query_category": 9,
    "guard_inner_size": GUARD_INNER,
}
CONFIGS = {
    "guard": {
        **_DECODER, **_GUARD_MAPS, "architectures": ["Qwen3ForGuardModel"], "model_type": "qwen3", "head_dim": 16,
        "rope_theta": 1000000, "attention_bias": False,
    },
    "qwen3-tokens": {
        **_DECODER, "architectures": ["Qwen3ForTokenClassification"], "model_type": "qwen3", "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
        "id2label": _numbered(["fine", "insult", "threat"]),
    },
    "qwen2-sequence": {
        **_DECODER, "architectures": ["Qwen2ForSequenceClassification"], "model_type": "qwen2",
        "rope_theta": 10000.0, "use_sliding_window": False, "id2label": _numbered(["fine", "insult", "threat"]),
    },
    "llama-tokens": {
        **_DECODER, "architectures": ["LlamaForTokenClassification"], "model_type": "llama", "num_key_value_heads": 1,
        "rope_theta": 500000.0, "problem_type": "multi_label_classification",
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64},
        "id2label": _numbered(["insult", "threat"]),
    },
    "bert-tokens": {
        "architectures": ["BertForTokenClassification"], "model_type": "bert", "is_decoder": True,
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2,
        "pad_token_id": 0, "id2label": _numbered(["fine", "insult", "threat"]),
    },
}  # fmt: skip
LABELS = {"fine": None, "insult": "hate_harassment", "threat": ["violence", "hate_harassment"]}


def tokenizer_of(name):
    return toy_tokenizer() if name.startswith("bert") else chat_tokenizer()


def tensors(name) -> dict[str, np.ndarray]:
    config = CONFIGS[name]
    rows = tokenizer_of(name).get_vocab_size()
    shapes = _bert_shapes(config, rows) if name.startswith("bert") else _decoder_shapes(name, config, rows)
    lots = np.random.RandomState(sum(name.encode()))
    made = {}
    for tensor in sorted(shapes):
        scale = 0.1 if "norm" in tensor.lower() or tensor.endswith("bias") else 0.3
        offset = 1.0 if "norm" in tensor.lower() and tensor.endswith("weight") else 0.0
        made[tensor] = (offset + scale * lots.standard_normal(shapes[tensor])).astype(np.float32)
    return made


def _decoder_shapes(name, config, rows):
    head_dim = config.get("head_dim", HIDDEN // HEADS)
    queries, keys = HEADS * head_dim, config["num_key_value_heads"] * head_dim
    shapes = {"model.embed_tokens.weight": (rows, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for part, size in (("q", queries), ("k", keys), ("v", keys)):
            shapes[f"{at}.self_attn.{part}_proj.weight"] = (size, HIDDEN)
            if config["model_type"] == "qwen2":
                shapes[f"{at}.self_attn.{part}_proj.bias"] = (size,)
        if config["model_type"] == "qwen3":
            shapes |= {f"{at}.self_attn.{part}_norm.weight": (head_dim,) for part in "qk"}
        shapes |= {
            f"{at}.self_attn.o_proj.weight": (HIDDEN, queries),
            f"{at}.mlp.gate_proj.weight": (INNER, HIDDEN),
            f"{at}.mlp.up_proj.weight": (INNER, HIDDEN),
            f"{at}.mlp.down_proj.weight": (HIDDEN, INNER),
            f"{at}.input_layernorm.weight": (HIDDEN,),
            f"{at}.post_attention_layernorm.weight": (HIDDEN,),
        }
    if name == "guard":
        for side, kinds in (("query_", 9), ("", 8)):
            shapes |= {
                f"{side}risk_level_category_pre.weight": (GUARD_INNER, HIDDEN),
                f"{side}risk_level_category_layernorm.weight": (GUARD_INNER,),
                f"{side}risk_level_head.weight": (3, GUARD_INNER),
                f"{side}category_head.weight": (kinds, GUARD_INNER),
            }
        return shapes
    labels = len(config["id2label"])
    shapes["score.weight"] = (labels, HIDDEN)
    if name.endswith("tokens"):
        shapes["score.bias"] = (labels,)
    return shapes


def _bert_shapes(config, rows):
    at = "bert.embeddings"
    shapes = {
        f"{at}.word_embeddings.weight": (rows, HIDDEN),
        f"{at}.position_embeddings.weight": (POSITIONS, HIDDEN),
        f"{at}.token_type_embeddings.weight": (2, HIDDEN),
    }
    norms = [f"{at}.LayerNorm"]
    linears = {"classifier": (len(config["id2label"]), HIDDEN)}
    for layer in range(LAYERS):
        at = f"bert.encoder.layer.{layer}"
        linears |= {f"{at}.attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        linears[f"{at}.attention.output.dense"] = (HIDDEN, HIDDEN)
        linears[f"{at}.intermediate.dense"] = (INNER, HIDDEN)
        linears[f"{at}.output.dense"] = (HIDDEN, INNER)
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for norm in norms:
        shapes |= {f"{norm}.weight": (HIDDEN,), f"{norm}.bias": (HIDDEN,)}
    for linear, shape in linears.items():
        shapes |= {f"{linear}.weight": shape, f"{linear}.bias": shape[:1]}
    return shapes


def write_safetensors(path: Path, arrays, kind="F32"):
    """A file of the format ``classifiers.convert.weights`` reads; ``kind`` F32, F16 or BF16."""
    header, parts, end = {}, [], 0
    for name, array in arrays.items():
        if kind == "BF16":
            raw = (array.view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            raw = array.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end + len(raw)]}
        parts.append(raw)
        end += len(raw)
    said = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(said).to_bytes(8, "little") + said + b"".join(parts))


def write_model(directory: Path, name: str, **changes) -> Path:
    """The folder of a tiny model; keyword arguments replace keys of its config."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(name)
    config = {**CONFIGS[name], "vocab_size": tokenizer.get_vocab_size(), "dtype": "float32", **changes}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer.save(str(directory / "tokenizer.json"))
    write_safetensors(directory / "model.safetensors", tensors(name))
    return directory
