"""Score cases with a pack through ONNX Runtime and keep what calibration needs.

Run `python -m classifiers.default.scoring --pack DIR --data DIR --chitchat FILE --output scores.pkl`
for the fold that operating points are fitted on. Texts are scored whole, in one step: the shipped graph
gives the same scores token by token.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from classifiers.default.architecture import CATEGORIES, ROLES, Architecture
from classifiers.default.conversation import Encoder
from classifiers.default.sets import Case, Fold, case, fold, rows
from guardrail.engine.cache import Geometry, NewState, State
from guardrail.engine.layout import layout

Floats = NDArray[np.float32]


@dataclass
class Scored:
    """A case and the raw logits of its turn, float32 [tokens, 17]."""

    case: Case
    logits: Floats

    @property
    def last(self) -> Floats:
        """At the end of the text, [17]."""
        return np.asarray(self.logits[-1])

    @property
    def judged(self) -> Floats:
        """The highest that counts, [17]: where a user's sentences end; on two tokens running of an answer.

        The rules are the policy's (`guardrail.policy`): an answer's finding takes two tokens, the last one stands
        by itself.
        """
        if self.case.role == "user":
            return np.asarray(self.logits[self.case.judged].max(axis=0))
        running = np.minimum(self.logits[:-1], self.logits[1:])
        return np.asarray(np.vstack([running, self.logits[-1:]]).max(axis=0))


class PackModel:
    """An ONNX Runtime session over a pack's `model.onnx`."""

    def __init__(self, model: Path, threads: int = 2, arch: Architecture | None = None) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        arch = arch or Architecture()
        kinds = {entry.name: entry.type for entry in self.session.get_inputs()}
        dtype = np.dtype(np.int8 if kinds["past_keys.0"] == "tensor(int8)" else np.float32)
        self.geometry = Geometry(arch.layers, arch.heads, arch.head_dim, arch.positions, dtype)

    def step(
        self, ids: Sequence[Sequence[int]], lengths: Sequence[int], past_keys: State, past_values: State
    ) -> tuple[list[Floats], list[NewState], list[NewState]]:
        """Run one step of a row each on state as `geometry` makes it, of which `lengths` positions are valid.

        Returns logits [tokens, 2, 17], new keys and new values [layers, tokens, heads, head_dim] of each row.
        """
        laid = layout([len(own) for own in ids], range(len(ids)))
        feeds = {
            "input_ids": np.concatenate([np.asarray(own, np.int64) for own in ids]),
            "position_ids": np.repeat(np.asarray(lengths, np.int64), laid.ends - laid.begins) + laid.columns,
            "slots": laid.slots,
            "places": laid.places,
            "past_length": np.asarray(lengths, np.int64),
        }
        for name, state in (("past_keys", past_keys), ("past_values", past_values)):
            feeds |= {f"{name}.{layer}": np.ascontiguousarray(part) for layer, part in enumerate(state)}
        logits, keys, values = self.session.run(["logits", "new_keys", "new_values"], feeds)
        borders = laid.ends[:-1]
        return (
            np.split(logits, borders),
            np.split(keys, borders, axis=1),
            np.split(values, borders, axis=1),
        )

    def whole(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
        """Logits of whole sequences, [tokens, 2, 17] each."""
        rows = len(sequences)
        state = self.geometry.keys(1, rows), self.geometry.values(1, rows)
        return self.step(sequences, [0] * rows, *state)[0]


def score(model: PackModel, items: list[Case], batch_tokens: int = 4096) -> list[Scored]:
    """Score the turn of every case; keeps the order of `items`."""
    order = sorted(range(len(items)), key=lambda i: len(items[i].example.ids))
    found: dict[int, Scored] = {}
    while order:
        longest = len(items[order[-1]].example.ids)
        count = max(1, batch_tokens // longest)
        group, order = order[-count:], order[:-count]
        logits = model.whole([items[i].example.ids for i in group])
        for row, index in enumerate(group):
            item = items[index]
            if not item.example.spans:
                continue  # The text had no token.
            span = item.example.spans[-1]
            turn = logits[row][span.start : span.end, ROLES.index(item.role)]
            found[index] = Scored(item, turn.copy())
    return [found[i] for i in sorted(found)]


def cases(data: Path, chitchat: Path, encoder: Encoder, which: Fold) -> list[Case]:
    """The cases of one fold."""
    return [case(row, encoder) for row in rows(data, chitchat) if fold(row) == which]


def load(path: Path) -> list[Scored]:
    """Read what `main` wrote; a file of one's own making only, as pickles are code."""
    with path.open("rb") as file:
        scored: list[Scored] = pickle.load(file)  # noqa: S301
    if scored and scored[0].logits.shape[1] != len(CATEGORIES):
        raise ValueError(f"{path}: scored with another set of categories")
    return scored


def main() -> None:
    """Score all cases from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, required=True, help="model.onnx and tokenizer.json")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--chitchat", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--fold", choices=("fit", "report"), default="fit")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    items = cases(args.data, args.chitchat, Encoder.load(args.pack), args.fold)
    scored = score(PackModel(args.pack / "model.onnx", args.threads), items)
    with args.output.open("wb") as file:
        pickle.dump(scored, file)
    print(f"{len(scored)} turns, {sum(len(s.logits) for s in scored)} tokens")


if __name__ == "__main__":
    main()
