"""Repeats in PyTorch the fits that `clay-probe probe --dump DIR` wrote, and compares.

    python tests/repeat_fit.py DIR...                  the first 60 steps of each fit (or of one: DIR/fit-….json)
    python tests/repeat_fit.py --whole DIR...          all steps
    python tests/repeat_fit.py --learnt DIR DATA OUT   writes OUT: the chips of DATA, which DIR is a dump of, with labels
                                                       that a head can learn (see `write_learnt`)

Compared are the loss of each step, and at each point of the curve the counts and metrics of both sides. Exit status 1
where a bound does not hold (see `misses`).

A few fits hang on the last bit: a ReLU whose input is 1e-8 opens or not, and AdamW, which divides a gradient by its own
size, makes a full step of the difference; there PyTorch in float32 and in float64 part company too. So a fit that leaves
the bounds around float32 is repeated in float64, has to stay within them there, and is named; more than one in eight (3
of 24) is a failure.
"""
import json
import struct
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

STEPS = 60
FIRST = 10
IGNORED = 255


# ------------------------------------------------------------------------------------ heads
def conv(channels: int, patch: int) -> nn.Module:
    """As many doublings as a patch needs, at most four transposed convolutions; for 32 px tensors 0, 2, 5, 8, 11."""
    doublings = patch.bit_length() - 1
    widths = [64, 32, 16, 8][:min(doublings, 4)] + [1]
    layers = [nn.Conv2d(channels, 64, 1)]
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Upsample(scale_factor=2), nn.ConvTranspose2d(a, b, 3, stride=1, padding=1), nn.ReLU()]
    layers.pop()
    return nn.Sequential(*layers, *[nn.Upsample(scale_factor=2)] * (doublings - 4))


def linear(channels: int, patch: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, patch * patch, 1), nn.PixelShuffle(patch))


class Segmentor(nn.Module):
    def __init__(self, channels: int, patch: int, middle: int = 512, last: int = 64):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, middle, 3, padding=1), nn.BatchNorm2d(middle)
        self.conv2, self.bn2 = nn.Conv2d(middle, middle, 3, padding=1), nn.BatchNorm2d(middle)
        self.conv_ps = nn.Conv2d(middle, last * patch * patch, 3, padding=1)
        self.conv_out, self.patch = nn.Conv2d(last, 1, 3, padding=1), patch

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.conv_out(F.pixel_shuffle(self.conv_ps(x), self.patch))


HEADS = {"conv": conv, "linear": linear, "segmentor": Segmentor}


# ------------------------------------------------------------------------------------ a fit
def summed_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Binary cross entropy summed over labelled pixels, and their number."""
    labelled = labels != IGNORED
    loss = F.binary_cross_entropy_with_logits(logits[labelled], labels[labelled].to(logits.dtype), reduction="sum")
    return loss, int(labelled.sum())


def metrics(counts: dict[str, int], loss: float | None) -> dict[str, float | None]:
    tp, fp, fn = (counts[k] for k in ("tp", "fp", "fn"))
    ratio = lambda a, b: a / b if b else None
    dice = ratio(2 * tp, 2 * tp + fp + fn)
    return {"iou": ratio(tp, tp + fp + fn), "dice": dice, "f1": dice, "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, tp + fn), "loss": loss}


class Chips:
    """Features, standardised where the fit was, and labels of a dump."""

    def __init__(self, chips: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], kind: torch.dtype):
        self.chips, self.kind = chips, kind
        self.scale = [tensors[f"features.{k}"][:, None, None] for k in ("mean", "deviation")
                      if f"features.{k}" in tensors]

    def features(self, places: list[int]) -> torch.Tensor:
        x = torch.stack([self.chips[f"features.{place}"] for place in places]).to(self.kind)
        return (x - self.scale[0].to(self.kind)) / self.scale[1].to(self.kind) if self.scale else x

    def labels(self, places: list[int]) -> torch.Tensor:
        return torch.stack([self.chips[f"labels.{place}"] for place in places])[:, None]


def score(head: nn.Module, chips: Chips, places: list[int], threshold: float) -> dict:
    counts, total, number = dict.fromkeys(("tp", "fp", "fn", "tn", "ignored"), 0), 0.0, 0
    head.eval()
    with torch.no_grad():
        for place in places:
            logits, label = head(chips.features([place])), chips.labels([place])
            wet = torch.sigmoid(logits) > threshold
            for name, mask in (("tp", wet & (label == 1)), ("fp", wet & (label == 0)), ("fn", ~wet & (label == 1)),
                               ("tn", ~wet & (label == 0)), ("ignored", label == IGNORED)):
                counts[name] += int(mask.sum())
            loss, labelled = summed_loss(logits, label)
            total, number = total + loss.item(), number + labelled
    head.train()
    return {"confusion": counts, "metrics": metrics(counts, total / number if number else None)}


def fit(told: dict, tensors: dict[str, torch.Tensor], all_chips: dict, kind: torch.dtype, steps: int):
    """Losses before each step, and the curve."""
    chips = Chips(all_chips, tensors, kind)
    channels = next(v for k, v in all_chips.items() if k.startswith("features.")).shape[0]
    head = HEADS[told["head"]](channels, told["patch"]).to(kind)
    head.load_state_dict({k[8:]: v.to(kind) for k, v in tensors.items() if k.startswith("initial.")}, strict=False)
    optimiser = torch.optim.AdamW(head.parameters(), lr=told["learning_rate"], betas=tuple(told["betas"]),
                                  eps=told["eps"], weight_decay=told["weight_decay"])
    points, losses, curve = {p["fit_step"] for p in told["curve"]}, [], []
    head.train()
    for step, batch in enumerate(told["batches"][:steps], 1):
        total, labelled = summed_loss(head(chips.features(batch)), chips.labels(batch))
        loss = total / labelled
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step in points:
            sides = {side: score(head, chips, told[side], told["threshold"]) for side in ("train", "val")}
            curve.append({"fit_step": step, **sides})
    return losses, curve


# ------------------------------------------------------------------------------------ comparing
def relative(a: float, b: float) -> float:
    return abs(a - b) / max(abs(b), 1e-3)


def misses(told: dict, theirs) -> tuple[list[str], str]:
    """Bounds that do not hold, and the figures. A count may be off by 2% of what is wet in label or prediction, or by 20
    pixels where that is more; a ratio by 0.02 where over 1000 pixels are wet; losses by their share."""
    losses, curve = theirs
    wrong, worst = [], {"first losses": 0.0, "losses": 0.0, "points": 0.0, "pixels": 0, "share": 0.0, "ratios": 0.0}

    def hold(what: str, distance: float, bound: float, key: str):
        worst[key] = max(worst[key], distance)
        if not distance <= bound:
            wrong.append(f"{what} by {distance:.3g}, may by {bound:.3g}")

    for i, (ours, other) in enumerate(zip(told["losses"], losses)):
        first = i < FIRST
        hold(f"loss of step {i + 1}", relative(ours, other), 1e-5 if first else 1e-2, "first losses" if first else "losses")
    for ours, other in zip(told["curve"], curve):
        assert ours["fit_step"] == other["fit_step"]
        for side in ("train", "val"):
            where, a, b = f"{side} at step {ours['fit_step']}", ours[side], other[side]
            (one, two) = a["confusion"], b["confusion"]
            if sum(one.values()) != sum(two.values()) or one["ignored"] != two["ignored"] or \
                    one["tp"] + one["fn"] != two["tp"] + two["fn"]:
                wrong.append(f"{where}: counts do not add up: {one} {two}")
                continue
            wet = two["tp"] + two["fp"] + two["fn"]
            moved = abs(one["tp"] - two["tp"]) + abs(one["fp"] - two["fp"])
            hold(f"{where}: counts", moved, max(20, 0.02 * wet), "pixels")
            worst["share"] = max(worst["share"], moved / wet if wet > 1000 else 0.0)
            for name, want in metrics(one, a["metrics"]["loss"]).items():
                got = a["metrics"][name]
                if (got is None) != (want is None) or (got is not None and abs(got - want) > 1e-12):
                    wrong.append(f"{where}: {name} is {got}, and {want} by its counts")
                if name != "loss" and wet > 1000 and None not in (got, b["metrics"][name]):
                    hold(f"{where}: {name}", abs(got - b["metrics"][name]), 0.02, "ratios")
            if a["metrics"]["loss"] is not None:
                hold(f"{where}: loss", relative(a["metrics"]["loss"], b["metrics"]["loss"]), 1e-2, "points")
    figures = f"losses {worst['first losses']:.1e} (first {FIRST} steps), {worst['losses']:.1e} (rest), " \
              f"{worst['points']:.1e} (curve); counts {worst['pixels']} px ({worst['share']:.3%}), ratios {worst['ratios']:.1e}"
    return wrong, figures


def repeat(path: Path, chips: dict[str, torch.Tensor], whole: bool) -> tuple[bool, list[str]]:
    """Whether it needed float64, and what went wrong; prints its figures."""
    told, tensors = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    steps = len(told["losses"]) if whole else min(STEPS, len(told["losses"]))
    last = told["curve"][-1]["val"]["metrics"]["iou"]
    print(f"{path.parent.name}/{path.stem}: {steps} of {len(told['losses'])} steps, IoU at the end "
          f"{'null' if last is None else format(last, '.4f')}, {', '.join(told['notes']) or 'no notes'}")
    if told["curve"][-1]["fit_step"] != len(told["losses"]) or len(told["batches"]) != len(told["losses"]):
        return False, [f"{path.stem}: the curve does not end with the fit"]
    for kind in (torch.float32, torch.float64):
        wrong, figures = misses(told, fit(told, tensors, chips, kind, steps))
        print(f"  from PyTorch {str(kind)[6:]}: {figures}", flush=True)
        if not wrong:
            return kind == torch.float64, []
        print(f"  outside: {'; '.join(wrong[:4])}")
    return True, [f"{path.stem}: {line}" for line in wrong]


def repeat_all(folders: list[str], whole: bool) -> int:
    wrong, finer, count = [], 0, 0
    for given in map(Path, folders):
        paths = [given] if given.suffix == ".json" else sorted(given.glob("fit-*.json"))
        for path in paths:
            double, lines = repeat(path, load_file(path.with_name("chips.safetensors")), whole)
            wrong, finer, count = wrong + lines, finer + double, count + 1
    if count == 0:
        wrong.append(f"no fit-*.json in {' '.join(folders)}")
    if finer > count / 8:
        wrong.append(f"{finer} of {count} fits need float64, more than one in eight")
    print("\n".join(wrong) or f"{count} fits repeated, {finer} of them in float64")
    return 1 if wrong else 0


# ------------------------------------------------------------------------------------ a data set that is learnt
def write_tiff(path: Path, values: torch.Tensor):
    """One band of bytes, no georeference: it is its chip's."""
    height, width = values.shape
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height),
               (279, width * height)]
    body = values.to(torch.uint8).contiguous().numpy().tobytes()
    body += b"\0" * (len(body) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in entries)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + struct.pack("<I", 0))


def write_learnt(dump: Path, data: Path, out: Path):
    """A patch is water where its features lie on one side of their median along the direction in which they vary most,
    each channel counting alike: linear in the features, in half of all patches, in every chip. Pixels of a patch's edge
    are ignored. The chips themselves are linked."""
    chips, listed = load_file(dump / "chips.safetensors"), json.loads((dump / "chips.json").read_text())
    maps = [chips[f"features.{i}"] for i in range(len(listed))]
    rows = torch.cat([m.flatten(1).t() for m in maps]).double()
    rows = (rows - rows.mean(0)) / rows.std(0).clamp_min(1e-9)
    along = rows @ torch.linalg.svd(rows, full_matrices=False)[2][0]
    wet = (along > along.median()).to(torch.uint8)
    for chip, features, labels in zip(listed, maps, (chips[f"labels.{i}"] for i in range(len(listed)))):
        grid, patch = features.shape[1], labels.shape[0] // features.shape[1]
        mine, wet = wet[:grid * grid].view(grid, grid), wet[grid * grid:]
        label = mine.repeat_interleave(patch, 0).repeat_interleave(patch, 1)
        label[::patch] = IGNORED
        source, target = (data / chip["path"]).resolve(), out / chip["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
        write_tiff(target.with_name(target.stem + "_LabelWater.tif"), label)


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--learnt"] and len(arguments) == 4:
        write_learnt(*map(Path, arguments[1:]))
        return 0
    whole = arguments[:1] == ["--whole"]
    folders = arguments[whole:]
    if not folders or folders[0].startswith("-"):
        print(__doc__)
        return 2
    return repeat_all(folders, whole)


if __name__ == "__main__":
    sys.exit(main())
