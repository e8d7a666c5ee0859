"""Writes steps of the from-scratch network in PyTorch, for clay-probe to repeat.

    python tests/compare_from_scratch.py DIR
    CLAY_PROBE_COMPARE=DIR cargo test --test it -- --ignored compare_from_scratch --nocapture

DIR/from_scratch-<seed>.safetensors: weights before (`0/0.weight`, ...) and after each of five steps of AdamW (`1/...` to
`5/...`), and of each step the `pixels` [2, 13, 64, 64], the `labels` [2, 64, 64] and the `loss` before it; weights in float64
beside them (`1/double/...`).

A ReLU whose input is 1e-9 opens or not, by the last bit, and so with two equal pixels before the pooling; AdamW, which
divides a gradient by its own size, makes up to a full step of the difference. There PyTorch's float32 parts from its float64
by 1e-3, and nothing can be told from either. Of a million and more inputs of a chip some are so close. So chips are drawn until none
is: by float64, with a third of the largest error of float32 at its layer for a margin. That is decided by
PyTorch alone, and that its float32 then stays within 5e-6 of its float64 is checked.
"""
import sys
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

SEEDS, STEPS, CHIPS, BANDS, SIDE, IGNORED, LEARNING_RATE = 3, 5, 2, 13, 64, 255, 1e-3
DRAWS = 1000
# How far PyTorch may be from itself.
ITSELF = 5e-6


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(BANDS, 64, 3, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(64, 128, 3, stride=1, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(128, 512, 3, stride=1, padding=1), nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(512, 1, 3, padding=1))


def chip() -> torch.Tensor:
    """Smooth fields with noise, [1, BANDS, SIDE, SIDE]."""
    coarse = torch.randn(1, BANDS, SIDE // 8, SIDE // 8)
    return F.interpolate(coarse, scale_factor=8, mode="bilinear") + 0.3 * torch.randn(1, BANDS, SIDE, SIDE)


def labels_of(pixels: torch.Tensor) -> torch.Tensor:
    """Water is where two bands are low; a corner of the first chip and every eleventh pixel are ignored."""
    labels = (pixels[:, 0] + pixels[:, 1] < 0).to(torch.uint8)
    labels.view(-1)[::11] = IGNORED
    labels[0, :20, :30] = IGNORED
    return labels


@torch.no_grad()
def decided(single: nn.Sequential, double: nn.Sequential, pixels: torch.Tensor) -> bool:
    """No ReLU and no pooling hangs on rounding."""
    x, y, margin = pixels, pixels.double(), 0.0
    for a, b in zip(single, double):
        if isinstance(b, nn.ReLU):
            margin = (x - y).abs().max().item() / 3
            if (y.abs() < margin).any():
                return False
        if isinstance(b, nn.MaxPool2d):
            four = F.pixel_unshuffle(y, 2).unflatten(1, (-1, 4)).topk(2, dim=2).values
            if ((four[:, :, 0] > 0) & (four[:, :, 0] - four[:, :, 1] < margin)).any():
                return False
        x, y = a(x), b(y)
    return True


def step(model: nn.Module, optimiser: torch.optim.Optimizer, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = model(pixels)[:, 0]
    known = labels != IGNORED
    loss = F.binary_cross_entropy_with_logits(logits[known], labels[known].to(logits.dtype))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


def write(file: Path, seed: int) -> None:
    torch.manual_seed(seed)
    single, double = network(), network().double()
    double.load_state_dict({name: value.double() for name, value in single.state_dict().items()})
    models = {"": single, "double/": double}
    optimisers = {key: torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE) for key, model in models.items()}
    tensors = {f"0/{name}": value.clone() for name, value in single.state_dict().items()}
    for number in range(1, STEPS + 1):
        draws = (chip() for _ in range(DRAWS))
        pixels = torch.cat(list(islice((x for x in draws if decided(single, double, x)), CHIPS)))
        labels = labels_of(pixels)
        tensors |= {f"{number}/pixels": pixels, f"{number}/labels": labels}
        for key, model in models.items():
            loss = step(model, optimisers[key], pixels.to(next(model.parameters()).dtype), labels)
            tensors |= {f"{number}/{key}{name}": value.clone() for name, value in model.state_dict().items()}
            tensors[f"{number}/{key}loss"] = loss.reshape(1)
        off = max((a - b).abs().max().item() for a, b in zip(single.parameters(), double.parameters()))
        print(f"seed {seed}, step {number}: float32 is off float64 by {off:.1e}")
        if off > ITSELF:
            sys.exit("PyTorch is too far from itself")
    save_file(tensors, file)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(SEEDS):
        write(folder / f"from_scratch-{seed}.safetensors", seed)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
