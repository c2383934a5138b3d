"""Records what transformers says of the tiny models, for tests where it is not installed.

Run ``python -m tests.classifiers.convert.record`` where torch and transformers are.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from tests.classifiers.convert.tiny import CONFIGS, tokenizer_of, write_model

RECORDED = Path(__file__).parent / "recorded.json"
TOKENS = 48


def ids_of(name) -> list[int]:
    return np.random.RandomState(5).randint(0, tokenizer_of(name).get_vocab_size(), TOKENS).tolist()


def framework_logits(directory: Path, name: str, ids) -> dict[str, np.ndarray]:
    """The label logits of every token, by head."""
    import torch
    import transformers

    given = torch.tensor([ids])
    with torch.no_grad():
        if name == "guard":
            return _guard_logits(directory, given)
        if name == "qwen2-sequence":
            # It looks at the last token alone, so every beginning of the text is asked for.
            model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
            rows = [model(given[:, : end + 1]).logits[0] for end in range(len(ids))]
            return {"labels": torch.stack(rows).numpy()}
        model = transformers.AutoModelForTokenClassification.from_pretrained(directory).eval()
        return {"labels": model(given).logits[0].numpy()}


def _guard_logits(directory, given):
    """As Qwen3Guard-Stream's own code: two narrow layers on the body's last hidden states, two heads on each."""
    import torch
    import transformers
    from safetensors.torch import load_file

    body = transformers.AutoModel.from_pretrained(directory).eval()
    hidden = body(given).last_hidden_state[0]
    weights = load_file(directory / "model.safetensors")
    logits = {}
    for side in ("query_", ""):
        narrow = hidden @ weights[f"{side}risk_level_category_pre.weight"].T
        size = narrow.pow(2).mean(-1, keepdim=True)
        narrow = weights[f"{side}risk_level_category_layernorm.weight"] * (narrow * torch.rsqrt(size + 1e-6))
        for head in ("risk_level", "category"):
            logits[f"{side}{head}"] = (narrow @ weights[f"{side}{head}_head.weight"].T).numpy()
    return logits


def main() -> None:
    recorded = {}
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            directory = write_model(Path(folder) / name, name)
            logits = framework_logits(directory, name, ids_of(name))
        recorded[name] = {head: np.round(values.astype(float), 5).tolist() for head, values in logits.items()}
    RECORDED.write_text(json.dumps(recorded, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
