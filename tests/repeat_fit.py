"""Repeats in PyTorch the fits that `clay-probe probe --dump DIR` wrote, and compares.

    python tests/repeat_fit.py DIR

Per fit: losses of the first 10 steps within 1e-5 relative, of the last fit epoch within 1e-3, and the confusion
counts of the validation side within 0.5% of its pixels. Exit status 1 otherwise.
"""
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn


def flood_decoder(channels: int) -> nn.Sequential:
    """[B, G*D, h, w] -> [B, 1, 32h, 32w] logits; tensors sit at list positions 0, 2, 5, 8, 11."""

    def up():
        return nn.Upsample(scale_factor=2, mode="nearest")

    def widen(a, b):
        return nn.ConvTranspose2d(a, b, kernel_size=3, stride=1, padding=1)

    return nn.Sequential(
        nn.Conv2d(channels, 64, kernel_size=1), up(),
        widen(64, 32), nn.ReLU(), up(),
        widen(32, 16), nn.ReLU(), up(),
        widen(16, 8), nn.ReLU(), up(),
        widen(8, 1), up(),
    )


def summed_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Binary cross entropy summed over labelled pixels, and their number."""
    labelled = labels != 255
    loss = F.binary_cross_entropy_with_logits(logits[labelled], labels[labelled].float(), reduction="sum")
    return loss, int(labelled.sum())


def confusion(decoder, chips, places, threshold: float) -> dict[str, int]:
    counts = dict.fromkeys(("tp", "fp", "fn", "tn", "ignored"), 0)
    with torch.no_grad():
        for place in places:
            wet = torch.sigmoid(decoder(chips[f"features.{place}"][None])[0, 0]) > threshold
            label = chips[f"labels.{place}"]
            for name, mask in (("tp", wet & (label == 1)), ("fp", wet & (label == 0)), ("fn", ~wet & (label == 1)),
                               ("tn", ~wet & (label == 0)), ("ignored", label == 255)):
                counts[name] += int(mask.sum())
    return counts


def repeat(path: Path, chips: dict[str, torch.Tensor]) -> list[str]:
    """What went wrong with one fit; prints its figures."""
    told = json.loads(path.read_text())
    tensors = load_file(path.with_suffix(".safetensors"))
    decoder = flood_decoder(tensors["initial.0.weight"].shape[1])
    decoder.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("initial.")})
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=told["learning_rate"], betas=tuple(told["betas"]),
                                  eps=told["eps"], weight_decay=told["weight_decay"])
    relative = []
    last_epoch = len(told["losses"]) - len(told["batches"][-1])
    steps = iter(told["losses"])
    for batch in (batch for epoch in told["batches"] for batch in epoch):
        want = next(steps)
        features = torch.stack([chips[f"features.{place}"] for place in batch])
        labels = torch.stack([chips[f"labels.{place}"] for place in batch])[:, None]
        total, labelled = summed_loss(decoder(features), labels)
        if labelled == 0:
            assert want is None, "a batch without labels is skipped"
            relative.append(0.0)
            continue
        loss = total / labelled
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        relative.append(abs(loss.item() - want) / abs(loss.item()))
    got, want = confusion(decoder, chips, told["val"], told["threshold"]), told["confusion"]
    pixels = sum(got.values())
    moved = max(abs(got[k] - want[k]) for k in got) / pixels
    first, last = max(relative[:10]), max(relative[last_epoch:])
    weights = max((v - tensors[f"final.{k}"]).abs().max().item() for k, v in decoder.state_dict().items())
    print(f"{path.stem}: {len(relative)} steps, loss off by {first:.1e} (first 10), {last:.1e} (last fit epoch), "
          f"counts by {moved:.4%} of {pixels} pixels, weights by {weights:.1e}")
    wrong = []
    if sum(want.values()) != pixels or got["ignored"] != want["ignored"]:
        wrong.append(f"{path.stem}: counts do not add up: {got} {want}")
    for what, value, bound in (("losses of the first 10 steps", first, 1e-5), ("losses of the last fit epoch", last, 1e-3),
                               ("confusion counts", moved, 5e-3)):
        if not value <= bound:
            wrong.append(f"{path.stem}: {what} differ by {value:.2e}, more than {bound:.0e}")
    return wrong


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    folder = Path(sys.argv[1])
    chips = load_file(folder / "chips.safetensors")
    fits = sorted(folder.glob("fit-*.json"))
    if not fits:
        print(f"no fit-*.json in {folder}")
        return 1
    wrong = [line for path in fits for line in repeat(path, chips)]
    print("\n".join(wrong) or f"{len(fits)} fits repeated")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
