"""Repeats in PyTorch, in float64, the fits that `clay-probe probe --dump DIR --dump-path` wrote, and compares.

    python tests/repeat_fit.py DIR...                  each fit (or one: DIR/fit-….json)
    python tests/repeat_fit.py --learnt DIR DATA OUT   writes OUT: the chips of DATA, which DIR is a dump of, with labels
                                                       that a head can learn (see `write_learnt`)

Each step is repeated by itself: from our weights before it and the moments of the steps so far follow a loss and the
weights after it, which are compared with ours; then ours are taken. So an error of rounding has no future, and the bounds
are narrow at every step (see `follow`). Run freely, two fits that differ in the order of their sums part company, PyTorch's
own among them: a ReLU whose input is 1e-8 opens or not, and AdamW, which divides a gradient by its own size, makes a full
step of the difference.

Such a ReLU may open or not here, too: where its input is within rounding of 0 (see `near`), it takes the side that brings
the step nearer to ours. How many did is printed. Exit status 1 where a bound does not hold.
"""
import copy
import json
import struct
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

IGNORED = 255
ROUNDING = 2.0 ** -24  # of float32, as a share
LOSSES = 1e-5  # by how much of itself a loss may differ
STEPS = 1e-3  # by how much of its length a step may differ, besides the rounding of the weights
PIXELS = 20  # how many may be counted elsewhere


# ------------------------------------------------------------------------------------ heads
class Gate(torch.autograd.Function):
    @staticmethod
    def forward(context, x, opened):
        context.save_for_backward(opened)
        return x.clamp_min(0)

    @staticmethod
    def backward(context, gradient):
        return gradient * context.saved_tensors[0], None


class Relu(nn.Module):
    """A ReLU; at places that are `turned` its derivative is that of the other side of 0."""

    def __init__(self):
        super().__init__()
        self.turned = set()

    def forward(self, x):
        opened = x > 0
        for place in self.turned:
            opened[place] = ~opened[place]
        return Gate.apply(x, opened)


def conv(channels: int, patch: int) -> nn.Module:
    """As many doublings as a patch needs, at most four transposed convolutions; for 32 px tensors 0, 2, 5, 8, 11."""
    doublings = patch.bit_length() - 1
    widths = [64, 32, 16, 8][:min(doublings, 4)] + [1]
    layers = [nn.Conv2d(channels, 64, 1)]
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Upsample(scale_factor=2), nn.ConvTranspose2d(a, b, 3, stride=1, padding=1), Relu()]
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


# ------------------------------------------------------------------------------------ a step by itself
def near(head: nn.Module, x: torch.Tensor) -> list[tuple[Relu, tuple]]:
    """Where a ReLU may take either side in float32: its input is less than six standard deviations of its rounding error.

    A sum of n products rounds n times, each time by a share of a partial sum: in any order a deviation of about
    `ROUNDING * sqrt(n * sum((a*b)^2))`. What its operands bring goes through the squares of the weights."""
    places, variance = [], torch.zeros_like(x)
    for layer in head if isinstance(head, nn.Sequential) else []:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            one, terms = copy.deepcopy(layer), layer.in_channels * layer.weight[0, 0].numel() + 1
            one.weight.data.square_()
            one.bias.data.square_().mul_(terms * ROUNDING ** 2)
            variance = one(terms * ROUNDING ** 2 * x.square() + variance)
        elif isinstance(layer, Relu):
            places += [(layer, tuple(p)) for p in (x.abs() <= 6 * variance.sqrt()).nonzero().tolist()]
            variance = variance * (x > 0)
        else:
            variance = layer(variance)
        x = layer(x)
    return places


class Steps:
    """The steps of a fit in PyTorch, each from weights that are given."""

    def __init__(self, told: dict, head: nn.Module, chips: Chips):
        self.head, self.chips = head, chips
        self.optimiser = torch.optim.AdamW(head.parameters(), lr=told["learning_rate"], betas=tuple(told["betas"]),
                                           eps=told["eps"], weight_decay=told["weight_decay"])

    def step(self, before: dict, moments: dict, batch: list[int]) -> float:
        """The loss before it."""
        self.head.load_state_dict(before, strict=False)
        self.optimiser.load_state_dict(copy.deepcopy(moments))
        total, labelled = summed_loss(self.head(self.chips.features(batch)), self.chips.labels(batch))
        loss = total / labelled
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def distance(self, after: dict) -> float:
        return sum((p.detach() - after[k]).square().sum().item() for k, p in self.head.named_parameters()) ** 0.5

    def like(self, before: dict, after: dict, batch: list[int]) -> tuple[float, int, int]:
        """A step on the sides that bring it nearest to `after`: the loss before it, how many ReLUs could take either side,
        and how many took the other than in float64."""
        moments = copy.deepcopy(self.optimiser.state_dict())
        self.head.load_state_dict(before, strict=False)
        with torch.no_grad():
            places = near(self.head, self.chips.features(batch))
        loss, distance = self.step(before, moments, batch), self.distance(after)
        again = bool(places)
        while again:
            again = False
            for relu, place in places:
                relu.turned ^= {place}
                self.step(before, moments, batch)
                if self.distance(after) < 0.9 * distance:
                    distance, again = self.distance(after), True
                else:
                    relu.turned ^= {place}
        if places:
            self.step(before, moments, batch)
        turned = sum(len(relu.turned) for relu in {relu for relu, _ in places})
        for relu, _ in places:
            relu.turned.clear()
        return loss, len(places), turned


def state(tensors: dict[str, torch.Tensor], step: int, kind: torch.dtype) -> dict[str, torch.Tensor]:
    """Our weights after a step."""
    prefix = f"step.{step}." if step else "initial."
    return {k[len(prefix):]: v.to(kind) for k, v in tensors.items() if k.startswith(prefix)}


# ------------------------------------------------------------------------------------ comparing
def relative(a: float, b: float) -> float:
    return abs(a - b) / max(abs(b), 1e-3)


class Bounds:
    """What does not hold, and the largest distances."""

    def __init__(self):
        self.wrong, self.worst = [], {}

    def hold(self, key: str, what: str, distance: float, bound: float):
        self.worst[key] = max(self.worst.get(key, 0.0), distance)
        if not distance <= bound:
            self.wrong.append(f"{what} by {distance:.3g}, may by {bound:.3g}")


def compare_side(bounds: Bounds, where: str, ours: dict, theirs: dict):
    (one, two) = ours["confusion"], theirs["confusion"]
    if sum(one.values()) != sum(two.values()) or one["ignored"] != two["ignored"] or \
            one["tp"] + one["fn"] != two["tp"] + two["fn"]:
        bounds.wrong.append(f"{where}: counts do not add up: {one} {two}")
        return
    bounds.hold("pixels", f"{where}: counts", abs(one["tp"] - two["tp"]) + abs(one["fp"] - two["fp"]), PIXELS)
    for name, want in metrics(one, ours["metrics"]["loss"]).items():
        got = ours["metrics"][name]
        if (got is None) != (want is None) or (got is not None and abs(got - want) > 1e-12):
            bounds.wrong.append(f"{where}: {name} is {got}, and {want} by its counts")
    if (ours["metrics"]["loss"] is None) != (theirs["metrics"]["loss"] is None):
        bounds.wrong.append(f"{where}: one has no loss")
    elif ours["metrics"]["loss"] is not None:
        bounds.hold("curve", f"{where}: loss", relative(ours["metrics"]["loss"], theirs["metrics"]["loss"]), LOSSES)


def follow(told: dict, tensors: dict[str, torch.Tensor], all_chips: dict, kind=torch.float64) -> tuple[Bounds, int, int]:
    """The bounds, and how many ReLUs could take either side, and took the other.

    At each step the loss differs by at most 1e-5 of itself, and each tensor's step by at most 1e-3 of its length, besides
    the rounding of the weights themselves, twice, for they decay first. At each point of the curve at most 20 pixels are
    counted elsewhere, and the losses differ by at most 1e-5 of themselves."""
    chips, bounds, either, other = Chips(all_chips, tensors, kind), Bounds(), 0, 0
    channels = next(v for k, v in all_chips.items() if k.startswith("features.")).shape[0]
    head = HEADS[told["head"]](channels, told["patch"]).to(kind)
    steps, points = Steps(told, head, chips), {p["fit_step"]: p for p in told["curve"]}
    before = state(tensors, 0, kind)
    for step, (batch, ours) in enumerate(zip(told["batches"], told["losses"]), 1):
        after = state(tensors, step, kind)
        loss, may, turned = steps.like(before, after, batch)
        either, other = either + may, other + turned
        bounds.hold("losses", f"loss of step {step}", relative(ours, loss), LOSSES)
        for name, theirs in head.named_parameters():
            length, distance = (after[name] - before[name]).norm().item(), (after[name] - theirs.detach()).norm().item()
            rounded = 2 * ROUNDING * after[name].norm().item()
            share = max(0.0, distance - rounded) / length if length else float(distance > rounded)
            bounds.hold("steps", f"step {step} of {name}", share, STEPS)
        if step in points:
            head.load_state_dict(after, strict=False)
            for side in ("train", "val"):
                theirs = score(head, chips, told[side], told["threshold"])
                compare_side(bounds, f"{side} at step {step}", points[step][side], theirs)
        before = after
    return bounds, either, other


def repeat(path: Path) -> list[str]:
    """What went wrong; prints its figures."""
    torch.set_num_threads(1)
    chips = load_file(path.with_name("chips.safetensors"))
    told, tensors = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
    last, steps = told["curve"][-1]["val"]["metrics"]["iou"], len(told["losses"])
    name = f"{path.parent.name}/{path.stem}: {steps} steps, IoU at the end " \
           f"{'null' if last is None else format(last, '.4f')}, {', '.join(told['notes']) or 'no notes'}"
    if told["curve"][-1]["fit_step"] != steps or len(told["batches"]) != steps:
        return [f"{path.stem}: the curve does not end with the fit"]
    final = {k[6:]: v for k, v in tensors.items() if k.startswith("final.")}
    path_end = state(tensors, steps, torch.float32)
    if final.keys() != path_end.keys() or not all(torch.equal(v, path_end[k]) for k, v in final.items()):
        return [f"{path.stem}: the path does not end with the final weights; dump it with --dump-path"]
    bounds, either, other = follow(told, tensors, chips)
    worst = bounds.worst
    print(f"{name}\n  losses {worst['losses']:.1e}, steps {worst['steps']:.1e}, curve: losses {worst['curve']:.1e}, "
          f"{worst['pixels']:.0f} pixels; {either} ReLUs within rounding of 0, {other} on the other side", flush=True)
    more = [f"{len(bounds.wrong) - 4} more"] if len(bounds.wrong) > 4 else []
    return [f"{path.stem}: {line}" for line in bounds.wrong[:4] + more]


def repeat_all(folders: list[str]) -> int:
    paths = [p for f in map(Path, folders) for p in ([f] if f.suffix == ".json" else sorted(f.glob("fit-*.json")))]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        wrong = [line for lines in pool.map(repeat, paths) for line in lines]
    if not paths:
        wrong.append(f"no fit-*.json in {' '.join(folders)}")
    print("\n".join(wrong) or f"{len(paths)} fits repeated, step by step")
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
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    return repeat_all(arguments)


if __name__ == "__main__":
    sys.exit(main())
