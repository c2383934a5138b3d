"""A causal pack's network, run step by step as its contract says (classifiers/README.md)."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import yaml

from guardrail.engine.layout import layout


class Steps:
    """The network of the pack in ``directory``."""

    def __init__(self, directory):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(
            str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        said = yaml.safe_load((directory / "manifest.yaml").read_text("utf-8"))
        self.shape = (said["layers"], said["heads"], said["head_dim"])

    def feed(self, texts, sizes):
        """Logits of ``texts`` side by side, each fed ``sizes(text, done)`` tokens a step."""
        layers, heads, width = self.shape
        rows, room = len(texts), max(map(len, texts))
        # What lies beyond a lane's past must not matter: noise.
        lots = np.random.RandomState(1)
        keys = lots.standard_normal((layers, rows, heads, width, room)).astype(np.float32)
        values = lots.standard_normal((layers, rows, heads, room, width)).astype(np.float32)
        done = np.zeros(rows, np.int64)
        logits = [[] for _ in texts]
        while any(done[row] < len(text) for row, text in enumerate(texts)):
            taken = [min(sizes(row, done[row]), len(text) - done[row]) for row, text in enumerate(texts)]
            fed = [row for row, count in enumerate(taken) if count]
            laid = layout([taken[row] for row in fed], range(len(fed)))
            parts = [texts[row][done[row] : done[row] + taken[row]] for row in fed]
            past = max(1, int(done.max()))
            found, new_keys, new_values = self.session.run(
                ["logits", "new_keys", "new_values"],
                {
                    "input_ids": np.concatenate(parts).astype(np.int64),
                    "position_ids": np.concatenate(
                        [np.arange(done[row], done[row] + taken[row]) for row in fed]
                    ),
                    "slots": laid.slots,
                    "places": laid.places,
                    "past_length": done[fed],
                    **{f"past_keys.{layer}": keys[layer][fed][..., :past] for layer in range(layers)},
                    **{f"past_values.{layer}": values[layer][fed][:, :, :past] for layer in range(layers)},
                },
            )
            for row, begin, end in zip(fed, laid.begins, laid.ends, strict=True):
                some = slice(done[row], done[row] + taken[row])
                logits[row].append(found[begin:end])
                keys[:, row, ..., some] = new_keys[:, begin:end].transpose(0, 2, 3, 1)
                values[:, row, :, some] = new_values[:, begin:end].transpose(0, 2, 1, 3)
                done[row] = some.stop
        return [np.concatenate(parts) for parts in logits]

    def whole(self, ids):
        return self.feed([ids], lambda _row, _done: len(ids))[0]
