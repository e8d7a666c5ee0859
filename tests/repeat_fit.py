"""Repeats in PyTorch the fits that `clay-probe probe --dump DIR` wrote, and compares.

    python tests/repeat_fit.py DIR

Per fit: losses of the first 10 steps within 1e-5 relative, of the last fit epoch within 1e-3, and the confusion
counts of the validation side within 0.5% of its pixels. Exit status 1 otherwise.

A few fits hang on the last bit: a ReLU whose input is 1e-8 opens or not, and AdamW, which divides a gradient by its
own size, makes a full step of the difference; there PyTorch in float32 and in float64 part company too. So each fit
is repeated in both, both distances are printed, and the bounds hold against one of them, as they stand.
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
    kind = next(decoder.parameters()).dtype
    counts = dict.fromkeys(("tp", "fp", "fn", "tn", "ignored"), 0)
    with torch.no_grad():
        for place in places:
            wet = torch.sigmoid(decoder(chips[f"features.{place}"][None].to(kind))[0, 0]) > threshold
            label = chips[f"labels.{place}"]
            for name, mask in (("tp", wet & (label == 1)), ("fp", wet & (label == 0)), ("fn", ~wet & (label == 1)),
                               ("tn", ~wet & (label == 0)), ("ignored", label == 255)):
                counts[name] += int(mask.sum())
    return counts


def fit(told: dict, tensors: dict[str, torch.Tensor], chips: dict[str, torch.Tensor], kind: torch.dtype):
    """Losses before each step (None where no pixel is labelled), and the validation side's counts after the last."""
    decoder = flood_decoder(tensors["initial.0.weight"].shape[1]).to(kind)
    decoder.load_state_dict({k[8:]: v.to(kind) for k, v in tensors.items() if k.startswith("initial.")})
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=told["learning_rate"], betas=tuple(told["betas"]),
                                  eps=told["eps"], weight_decay=told["weight_decay"])
    losses = []
    for batch in (batch for epoch in told["batches"] for batch in epoch):
        features = torch.stack([chips[f"features.{place}"] for place in batch]).to(kind)
        labels = torch.stack([chips[f"labels.{place}"] for place in batch])[:, None]
        total, labelled = summed_loss(decoder(features), labels)
        if labelled == 0:
            losses.append(None)
            continue
        loss = total / labelled
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, confusion(decoder, chips, told["val"], told["threshold"])


def distances(one, other, last_epoch: int) -> tuple[float, float, float]:
    """Relative, of losses of the first 10 steps and of the last fit epoch; of counts by pixels."""
    (losses, counts), (other_losses, other_counts) = one, other
    assert [x is None for x in losses] == [x is None for x in other_losses], "a batch without labels is skipped"
    relative = [0.0 if x is None else abs(x - y) / abs(y) for x, y in zip(losses, other_losses)]
    moved = max(abs(counts[k] - other_counts[k]) for k in counts) / sum(counts.values())
    return max(relative[:10]), max(relative[last_epoch:]), moved


def repeat(path: Path, chips: dict[str, torch.Tensor]) -> list[str]:
    """What went wrong with one fit; prints its figures."""
    told = json.loads(path.read_text())
    tensors = load_file(path.with_suffix(".safetensors"))
    ours = told["losses"], told["confusion"]
    last_epoch = len(told["losses"]) - len(told["batches"][-1])
    print(f"{path.stem}: {len(told['losses'])} steps")
    misses = []
    for name, kind in (("float32", torch.float32), ("float64", torch.float64)):
        theirs = fit(told, tensors, chips, kind)
        pixels = sum(theirs[1].values())
        if sum(ours[1].values()) != pixels or theirs[1]["ignored"] != ours[1]["ignored"]:
            return [f"{path.stem}: counts do not add up: {theirs[1]} {ours[1]}"]
        first, last, moved = distances(ours, theirs, last_epoch)
        print(f"  from PyTorch {name}: losses {first:.1e} (first 10 steps), {last:.1e} (last fit epoch), "
              f"counts {moved:.4%} of {pixels} pixels")
        misses.append([f"{path.stem}: {what} differ from PyTorch's {name} by {distance:.2e}, more than {bound:.0e}"
                       for (what, bound), distance in zip(BOUNDS.items(), (first, last, moved)) if not distance <= bound])
    return [] if not all(misses) else misses[0] + misses[1]


BOUNDS = {"losses of the first 10 steps": 1e-5, "losses of the last fit epoch": 1e-3, "confusion counts": 5e-3}


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
