"""Train the causal classifier on a pool, on a schedule driven by the clock.

Run `python -m classifiers.default.train --pool pool.npz --start DIR --output DIR --minutes N`
(`--resume` goes on from the last checkpoint, over what is left of the time).

The loss is made for streams. A harmless text is low on every token. A harmful one is not forced up
before there is evidence: the weight of its tokens grows along the text (or from a known onset, with
zeros before it), and a pooled term asks that its highest tokens do reach the target.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from classifiers.default.labels import ANY
from classifiers.default.model import CausalClassifier, starting_point

ASSISTANT_RAMP_TOKENS = 32
ONSET_RAMP_TOKENS = 8
POOLED_TOKENS = 3
POOLED_SHARE = 0.5
BENIGN_PEAK_WEIGHT = 2.5
"""How much more the highest tokens of harmless answers count than those of harmful ones."""
EMA_DECAY = 0.998


@dataclass
class Batch:
    """Padded conversations and the spans scored in them (S spans, T tokens, 17 categories)."""

    ids: Tensor
    """int64 [B, T]"""
    spans: Tensor
    """int64 [S, 5]: row in batch, start, end, role, onset (tokens after start, or -1)"""
    target: Tensor
    """float32 [S, 17]"""
    weight: Tensor
    """float32 [S, 17]"""


class PoolReader:
    """Cuts a pool into batches of conversations of about the same length."""

    def __init__(self, path: Path, batch_tokens: int) -> None:
        pool = np.load(path)
        self.ids, self.offsets = pool["ids"], pool["offsets"]
        self.spans, self.target, self.weight = pool["spans"], pool["target"], pool["weight"]
        self.lengths = np.diff(self.offsets)
        self.first_span = np.searchsorted(self.spans[:, 0], np.arange(len(self.offsets)))
        self.batch_tokens = batch_tokens

    def positive_weight(self) -> Tensor:
        """Weight of positives per role and category, float32 [2, 17]: rare ones count more."""
        out = np.ones((2, self.target.shape[1]), dtype=np.float32)
        for role in range(2):
            mine = self.spans[:, 3] == role
            target = self.target[mine].astype(np.float32)
            weight = self.weight[mine].astype(np.float32)
            positive = (target * weight).sum(0)
            negative = ((1 - target) * weight).sum(0)
            out[role] = np.clip(np.sqrt(negative / np.maximum(positive, 1)) / 2, 1, 5)
        return torch.from_numpy(out)

    def epoch(self, rng: random.Random) -> Iterator[Batch]:
        """Yield every conversation once, in batches, in random order."""
        noise = np.random.default_rng(rng.randrange(2**32)).uniform(0.9, 1.1, len(self.lengths))
        groups: list[list[int]] = [[]]
        for index in np.argsort(self.lengths * noise):
            longest = max(self.lengths[i] for i in (*groups[-1][-8:], index))
            if groups[-1] and longest * (len(groups[-1]) + 1) > self.batch_tokens:
                groups.append([])
            groups[-1].append(int(index))
        rng.shuffle(groups)
        for group in groups:
            yield self.batch(group)

    def batch(self, group: list[int]) -> Batch:
        """Collect the conversations of `group`."""
        ids = np.zeros((len(group), max(self.lengths[i] for i in group)), dtype=np.int64)
        picked: list[int] = []
        rows: list[int] = []
        for row, index in enumerate(group):
            ids[row, : self.lengths[index]] = self.ids[self.offsets[index] : self.offsets[index + 1]]
            mine = range(self.first_span[index], self.first_span[index + 1])
            picked.extend(mine)
            rows.extend([row] * len(mine))
        spans = self.spans[picked].astype(np.int64)
        spans[:, 0] = rows
        return Batch(
            torch.from_numpy(ids),
            torch.from_numpy(spans),
            torch.from_numpy(self.target[picked].astype(np.float32)),
            torch.from_numpy(self.weight[picked].astype(np.float32)),
        )


def stream_loss(logits: Tensor, batch: Batch, positive_weight: Tensor) -> Tensor:
    """Loss of a batch; `logits` is float32 [B, T, 2, 17]."""
    row, start, end, role, onset = batch.spans.unbind(1)
    z = logits[row, :, role, :]
    place = torch.arange(logits.shape[1])[None] - start[:, None]
    length = (end - start)[:, None]
    inside = (place >= 0) & (place < length)
    known = (onset >= 0)[:, None]
    after = place - onset[:, None]
    # Growing certainty along a harmful text; zero targets before a known onset.
    user_ramp = ((place + 1) / length).clamp(0, 1) ** 1.5
    answer_ramp = ((place + 1) / length.clamp(max=ASSISTANT_RAMP_TOKENS)).clamp(0, 1)
    ramp = torch.where(role[:, None] == 0, user_ramp, answer_ramp)
    ramp = torch.where(known, ((after + 1) / ONSET_RAMP_TOKENS).clamp(0, 1), ramp)
    before = (known & (after < 0))[:, :, None]
    harmful = batch.target[:, None, :] > 0
    target = torch.where(before, 0.0, batch.target[:, None, :])
    share = torch.where(harmful & ~before, ramp[:, :, None], 1.0) * inside[:, :, None]
    token = functional.binary_cross_entropy_with_logits(z, target, reduction="none")
    token = (token * share).sum(1) / share.sum(1).clamp(min=1e-3)
    # What counts at the peak and at the end of a harmful text is what stands after its onset; a text
    # that was cut before its onset has no such place, and is harmless as far as it goes.
    counted = inside[:, :, None] & ~(before & harmful)
    top = z.masked_fill(~counted, -30.0).topk(min(POOLED_TOKENS, z.shape[1]), dim=1).values
    real = (top > -29).float()
    top = (top * real).sum(1) / real.sum(1).clamp(min=1)
    last = z[torch.arange(len(end)), end - 1]
    pooled = functional.binary_cross_entropy_with_logits(top, batch.target, reduction="none")
    final = functional.binary_cross_entropy_with_logits(last, batch.target, reduction="none")
    reached = counted.any(1).float()
    pooled, final = pooled * reached, final * reached
    # One high token of a good answer is a false intervention, whatever the others are.
    quiet = 1 + (role[:, None] == 1).float() * (BENIGN_PEAK_WEIGHT - 1)
    pooled = torch.where(batch.target > 0, (pooled + final) / 2, pooled * quiet)
    rare = 1 + (positive_weight[role] - 1) * batch.target
    weight = batch.weight * rare
    weight[:, ANY] *= 2
    return ((token + POOLED_SHARE * pooled) * weight).sum() / len(end) / 6


def learning_rate(progress: float) -> float:
    """Share of the peak rate at `progress` 0..1: short warm-up, then a cosine to 2 %."""
    if progress < 0.03:
        return 0.05 + 0.95 * progress / 0.03
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - 0.03) / 0.97))


def train(args: argparse.Namespace) -> None:
    """Run until the time is up, saving checkpoints."""
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    reader = PoolReader(args.pool, args.batch_tokens)
    model: CausalClassifier = starting_point(args.start)
    started = {name: value.clone() for name, value in model.state_dict().items()}
    average = {name: value.clone() for name, value in started.items()}
    heads = [p for n, p in model.named_parameters() if n.startswith("head.")]
    table = [model.words.weight, model.positions.weight]
    rest = [p for p in model.parameters() if not any(p is q for q in (*heads, *table))]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "peak": args.rate, "weight_decay": 0.01},
         {"params": table, "peak": args.rate, "weight_decay": 0.0},
         {"params": heads, "peak": args.rate * 10, "weight_decay": 0.0}],
        lr=args.rate, fused=True,
    )  # fmt: skip
    spent, step, epoch = 0.0, 0, 0
    last = args.output / "last.pt"
    if args.resume and last.exists():
        state = torch.load(last, weights_only=True)
        model.load_state_dict(state["raw"])
        optimizer.load_state_dict(state["optimizer"])
        average, spent = state["model"], state["spent"]
        step, epoch = state["step"], state["epoch"] + 1
        rng = random.Random(args.seed + step)
    positive_weight = reader.positive_weight()
    begun, saved, logged = time.monotonic() - spent, time.monotonic(), time.monotonic()
    total, tokens, losses = args.minutes * 60, 0, []
    model.train()
    while time.monotonic() - begun < total:
        for batch in reader.epoch(rng):
            now = time.monotonic()
            if now - begun >= total:
                break
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * learning_rate((now - begun) / total)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(batch.ids)
            loss = stream_loss(logits, batch, positive_weight)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step, tokens = step + 1, tokens + batch.ids.numel()
            losses.append(loss.item())
            decay = min(EMA_DECAY, step / (step + 10))
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - decay)
            if now - logged > 30:
                print(f"{(now - begun) / 60:6.1f} min  step {step}  epoch {epoch}  "
                      f"loss {np.mean(losses):.4f}  {tokens / (now - logged):.0f} tokens/s",
                      flush=True)  # fmt: skip
                logged, tokens, losses = now, 0, []
            if now - saved > args.save_every * 60:
                save(last, model, average, optimizer, now - begun, step, epoch)
                saved = now
        epoch += 1
    for name, value in started.items():
        average[name].lerp_(value, args.start_share)
    save(last, model, average, optimizer, total, step, epoch)
    (args.output / "done").touch()


def save(  # noqa: PLR0917
    path: Path,
    model: CausalClassifier,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    spent: float,
    step: int,
    epoch: int,
) -> None:
    """Write a checkpoint; `model` in it is the running average, which is what is exported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    state = {"model": average, "raw": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state | {"spent": spent, "step": step, "epoch": epoch}, fresh)
    fresh.replace(path)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument(
        "--start", type=Path, required=True, help="sentence encoder, or an int8 pack to go on from"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument(
        "--start-share",
        type=float,
        default=0.0,
        help="of the weights it began with, in what it ends with (Wortsman et al. 2022, arXiv 2109.01903)",
    )
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--save-every", type=float, default=3.0, help="minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
