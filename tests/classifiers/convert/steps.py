"""A causal pack's network, run step by step as its contract says (classifiers/README.md)."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import yaml


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
            ids = np.zeros((rows, max(taken)), np.int64)
            for row, count in enumerate(taken):
                ids[row, :count] = texts[row][done[row] : done[row] + count]
            past = max(1, int(done.max()))
            places = np.minimum(done[:, None] + np.arange(max(taken)), room - 1)
            found, new_keys, new_values = self.session.run(
                ["logits", "new_keys", "new_values"],
                {
                    "input_ids": ids,
                    "position_ids": places,
                    "past_length": done,
                    **{f"past_keys.{layer}": keys[layer, ..., :past] for layer in range(layers)},
                    **{f"past_values.{layer}": values[layer, :, :, :past] for layer in range(layers)},
                },
            )
            for row, count in enumerate(taken):
                logits[row].append(found[row, :count])
                keys[:, row, ..., done[row] : done[row] + count] = new_keys[:, row, ..., :count]
                values[:, row, :, done[row] : done[row] + count] = new_values[:, row, :, :count]
                done[row] += count
        return [np.concatenate(parts) for parts in logits]

    def whole(self, ids):
        return self.feed([ids], lambda _row, _done: len(ids))[0]
