"""Compares metrics, ridge and signs of collapse with torchmetrics, scikit-learn, numpy and the demo's prototype.

    python tests/compare_metrics.py make DIR [SHARED]     writes random masks and ridge problems into DIR; with SHARED
                                                          (it holds demo/prototype.py) also the demo's own crops
    CLAY_PROBE_COMPARE=DIR cargo test --test it -- --ignored compare_     reads them and writes DIR/ours.json
    python tests/compare_metrics.py check DIR [SHARED]    exit status 1 where a bound does not hold

Needs tests/requirements.txt; SHARED needs rasterio too. The largest difference of each number is printed.
"""
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional import classification as tm
from torchmetrics.functional.segmentation import dice_score

MASKS, SIDE, IGNORED, POOLED, NO_POOL = 1000, 64, 255, 40, 255
PENALTIES = (1e-2, 1e-1, 1.0, 10.0, 100.0)
BOUND = 1e-6
# Rank metrics of the binned logit (off by at most 1/32) against those of the logit itself: pooled over 40 masks; and of
# one mask with 50 pixels or more of either class, where a bin holds a larger share of the pixels.
UNBINNED = 2e-3
UNBINNED_MASK = {"auroc": 2e-3, "ap": 2e-2}
# torch.linalg.svdvals in float32, as the prototype has it.
FLOAT32 = 1e-4


# ------------------------------------------------------------------------------------ what is compared on
def mask(dice: np.random.Generator, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits [SIDE * SIDE]: water of any extent, a predictor of any quality, and the ends of both."""
    rows, cols = np.mgrid[:SIDE, :SIDE] / SIDE
    row, col, wide = dice.uniform(size=3)
    distance = np.hypot(rows - row, cols - col) - wide * dice.uniform(0.05, 1.0)
    label = (distance < 0).astype("uint8")
    logit = -distance * dice.uniform(2, 40) + dice.normal(0, dice.uniform(0.5, 3), (SIDE, SIDE)) + dice.normal(0, 1)
    kind = i % 10
    if kind == 1:
        label[:] = 0
    elif kind == 2:
        label[:] = 1
    elif kind == 3:
        logit = -np.abs(logit) - 0.01 * (i % 4)  # nothing is predicted
    elif kind == 4:
        logit = np.abs(logit) + 0.01
    elif kind == 5:
        logit *= 10  # most beyond the outermost edges
    elif kind == 6:
        logit = np.round(logit * 4) / 4  # on edges, 0 among them
    elif kind == 7 and i % 20 == 7:
        label, logit = (dice.uniform(size=(SIDE, SIDE)) < 0.3).astype("uint8"), np.zeros((SIDE, SIDE))
    if i % 3:
        label[dice.uniform(size=label.shape) < dice.uniform(0, 0.9)] = IGNORED
    if i % 50 == 49:
        label[:] = IGNORED
    return label.reshape(-1), logit.astype("float32").reshape(-1)


def problem(dice: np.random.Generator, chips: int, patches: int, channels: int, folds: int) -> dict[str, np.ndarray]:
    """Features of low rank, shifted and scaled per channel, and a water fraction that some of them tell."""
    n, rank = chips * patches, 12
    hidden = dice.normal(size=(n, rank)) * 0.7 ** np.arange(rank)
    x = hidden @ dice.normal(size=(rank, channels)) + 0.1 * dice.normal(size=(n, channels))
    x = x * dice.lognormal(0, 2, channels) + dice.normal(0, 5, channels)
    x[:, 1] = 0.3  # a channel that says nothing
    water = np.clip(0.4 + 0.3 * hidden[:, 0] + 0.1 * dice.normal(size=n), 0, 1)
    group = np.repeat(np.arange(chips), patches)
    byte = lambda values: np.ascontiguousarray(values, dtype="uint8")
    return {"features": x.astype("float32"), "water": water, "usable": byte(dice.uniform(size=n) > 0.1),
            "fold": byte(group % folds), "group": byte(group), "event": byte(group % 4)}


def demo(shared: Path):
    """The prototype and its crops: (module, features [B, C, h, w] of a random encoder, target, usable, fold)."""
    sys.path.insert(0, str(shared / "demo"))
    import prototype

    pixels, latlon, when, target, usable, fold = prototype.crops()
    torch.manual_seed(100)
    encoder = prototype.R.Encoder(64, 2, 2, 128, prototype.CUT, prototype.PATCH, 0.0, shuffle=False).eval()
    with torch.no_grad():
        return prototype, encoder.embed(pixels, latlon, when), target, usable, fold


def make(folder: Path, shared: Path | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(0)
    labels, logits = zip(*(mask(dice, i) for i in range(MASKS)))
    # What a probe reports is pooled over chips: 40 masks each, of logits that are not clipped.
    pool = np.full(MASKS, NO_POOL, dtype="uint8")
    whole = np.flatnonzero([abs(z).max() <= 16 for z in logits])
    pool[whole] = np.arange(len(whole)) // POOLED
    save_file({"labels": np.stack(labels), "logits": np.stack(logits), "pool": pool}, folder / "masks.safetensors")
    for name, size in {"primal": (30, 4, 40, 3), "dual": (30, 4, 300, 4), "two-folds": (12, 4, 60, 2)}.items():
        save_file(problem(dice, *size), folder / f"ridge-{name}.safetensors")
    if shared:
        _, features, target, usable, fold = demo(shared)
        x = features.permute(0, 2, 3, 1).flatten(0, 2).numpy()
        each = x.shape[0] // len(fold)
        byte = lambda values: np.ascontiguousarray(values, dtype="uint8")
        save_file({"features": np.ascontiguousarray(x), "water": target.flatten().double().numpy(),
                   "usable": byte(usable.flatten()), "fold": byte(np.repeat(fold, each)),
                   "group": byte(np.arange(len(x)) // each), "event": byte(np.arange(len(x)) // each // 9)},
                  folder / "ridge-demo.safetensors")


# ------------------------------------------------------------------------------------ comparing
class Differences:
    """The largest difference of each number, and what is beyond its bound."""

    def __init__(self):
        self.largest: dict[str, tuple[float, str]] = {}
        self.misses: list[str] = []

    def see(self, what: str, where: str, ours: float | None, theirs: float | None, bound: float = BOUND) -> None:
        if ours is None or theirs is None:
            if ours is not theirs:
                self.misses.append(f"{what} of {where}: {ours}, not {theirs}")
            return
        off = abs(ours - theirs)
        if off >= self.largest.get(what, (-1.0, ""))[0]:
            self.largest[what] = off, where
        if not off <= bound:
            self.misses.append(f"{what} of {where}: {ours}, not {theirs}")

    def equal(self, what: str, where: str, ours, theirs) -> None:
        if ours != theirs:
            self.misses.append(f"{what} of {where}: {ours}, not {theirs}")


def of_counts(label: torch.Tensor, p: torch.Tensor, threshold: float) -> dict[str, float | None]:
    """torchmetrics' numbers; None where its own counts say 0/0, which it calls 0."""
    how = {"threshold": threshold, "ignore_index": IGNORED}
    tp, fp, tn, fn, _ = tm.binary_stat_scores(p, label, **how).tolist()
    both = {"num_classes": 2, "average": "macro", "ignore_index": IGNORED}
    seen = label != IGNORED
    wet = (p > threshold).long()
    hard = lambda values: values[seen].long().view(1, 1, -1)
    defined = lambda value, *wholes: float(value()) if all(wholes) else None
    union, land = tp + fp + fn, tn + fp + fn
    return {
        "iou": defined(lambda: tm.binary_jaccard_index(p, label, **how), union),
        "dice": defined(lambda: dice_score(hard(wet), hard(label), 1, input_format="one-hot", average="micro"), union),
        "f1": defined(lambda: tm.binary_f1_score(p, label, **how), union),
        "precision": defined(lambda: tm.binary_precision(p, label, **how), tp + fp),
        "recall": defined(lambda: tm.binary_recall(p, label, **how), tp + fn),
        "miou": defined(lambda: tm.multiclass_jaccard_index(wet, label, **both), union, land),
        "mdice": defined(lambda: tm.multiclass_f1_score(wet, label, **both), union, land),
        "mf1": defined(lambda: tm.multiclass_f1_score(wet, label, **both), union, land),
        "mprecision": defined(lambda: tm.multiclass_precision(wet, label, **both), tp + fp, tn + fn),
        "mrecall": defined(lambda: tm.multiclass_recall(wet, label, **both), tp + fn, tn + fp),
        "accuracy": defined(lambda: tm.binary_accuracy(p, label, **how), tp + fp + tn + fn),
        "false_alarm": defined(lambda: 1 - tm.binary_specificity(p, label, **how).double(), fp + tn),
    }


def centres(logit: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The centre of each logit's bin: bins of 1/16 that hold their upper edge; 0 as the sigmoid of float32 sees it."""
    edges = np.arange(513) / 16 - 16
    place = np.clip(np.searchsorted(edges, logit.astype("float64"), side="left") - 1, 0, 511)
    place[(place == 256) & ~(p > 0.5)] = 255
    return edges[place] + 1 / 32


RANKS = {"auroc": roc_auc_score, "ap": average_precision_score}


def check_masks(folder: Path, ours: list, pools: dict, d: Differences) -> None:
    masks = load_file(folder / "masks.safetensors")
    for i, (label, logit) in enumerate(zip(masks["labels"], masks["logits"])):
        where, got = f"mask {i}", ours[i]
        p, target = torch.sigmoid(torch.tensor(logit)), torch.tensor(label.astype("int64"))
        for threshold in (0.5, 0.3):
            # A number of float32, so that both sides compare with the same.
            for word, theirs in of_counts(target, p, float(np.float32(threshold))).items():
                d.see(word, f"{where} at {threshold}", got[f"at_{threshold}"][word], theirs)
        near = got["binned_at_0.3"]
        d.see("distance of the edge for 0.3, probability", where, near["threshold"], 0.3, 1 / 128)
        seen = label != IGNORED
        centre = centres(logit, p.numpy())
        binned = torch.tensor(1 / (1 + np.exp(-centre)))
        for word, theirs in of_counts(target, binned, near["threshold"]).items():
            d.see(f"{word}, binned at 0.3", where, near["metrics"][word], theirs)
        y, z, centre, binned = label[seen], logit[seen], centre[seen], binned[torch.tensor(seen)]
        two, wet = 0 < y.sum() < len(y), y.sum() > 0
        d.see("auroc", where, got["auroc"], roc_auc_score(y, centre) if two else None)
        d.see("ap", where, got["ap"], average_precision_score(y, centre) if wet else None)
        long = torch.tensor(y.astype("int64"))
        ece = lambda p: float(tm.binary_calibration_error(p, long, n_bins=15, norm="l1"))
        d.see("ece", where, got["ece"], ece(binned) if len(y) else None)
        if min(y.sum(), len(y) - y.sum()) >= 50 and abs(z).max() <= 16:
            for word, of in RANKS.items():
                d.see(f"{word} of a mask, to the unbinned", where, got[word], of(y, z), UNBINNED_MASK[word])
            d.see("ece of a mask, to the unbinned", where, got["ece"], ece(p[torch.tensor(seen)].double()), 1 / 64)
    for pool, got in pools.items():
        of_pool = masks["pool"] == int(pool)
        label, z = masks["labels"][of_pool].reshape(-1), masks["logits"][of_pool].reshape(-1)
        y, z = label[label != IGNORED], z[label != IGNORED]
        p = torch.sigmoid(torch.tensor(z))
        for word, of in RANKS.items():
            d.see(f"{word}, pooled", f"pool {pool}", got[word], of(y, centres(z, p.numpy())))
            d.see(f"{word}, pooled, to the unbinned", f"pool {pool}", got[word], of(y, z), UNBINNED)


def standardised(x: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, spread = x.mean(0), x.std(0) + 1e-6
    return (x - mean) / spread, (held - mean) / spread


def ridge(x, y, held) -> list[np.ndarray]:
    """prototype.ridge, by scikit-learn."""
    a, b = standardised(x, held)
    fit = lambda p: Ridge(alpha=p * x.shape[1], solver="svd").fit(a, y)
    return [fit(p).predict(b) for p in PENALTIES]


def out_of_fold(x, y, ok, fold, group) -> tuple[np.ndarray, list[float]]:
    """Predictions and the penalty of each fold; with two folds it is chosen by groups of the other, dealt to five."""
    guess, penalties = np.zeros(len(y)), []
    for k in np.unique(fold):
        train = (fold != k) & ok
        inner = fold
        if len(np.unique(fold[train])) == 1:
            groups = np.unique(group[train])
            inner = np.searchsorted(groups, group) % min(len(groups), 5)
        errors = np.zeros(len(PENALTIES))
        for j in np.unique(inner[train]):
            rest, check = train & (inner != j), train & (inner == j)
            errors += [((g - y[check]) ** 2).sum() for g in ridge(x[rest], y[rest], x[check])]
        penalties.append(PENALTIES[errors.argmin()])
        guess[fold == k] = ridge(x[train], y[train], x[fold == k])[errors.argmin()]
    return guess, penalties


def signs(x: np.ndarray) -> dict[str, float]:
    def rank(x, share):
        s = np.linalg.svd(x, compute_uv=False)
        return np.exp(-share(s / s.sum()).sum())

    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = np.triu_indices(len(x), 1)
    spread = x.std(0)
    return {
        "effective_rank": rank(x - x.mean(0), lambda p: p * np.log(p + 1e-12)),
        "rankme": rank(x, lambda p: (p + 1e-7) * np.log(p + 1e-7)),
        "uniformity": float(torch.pdist(torch.tensor(u)).square().mul(-2).exp().mean().log()),
        "mean_cosine": (u @ u.T)[pairs].mean(),
        "dead": int(((spread < 1e-6 * np.median(spread)) | (x.min(0) == x.max(0))).sum()),
    }


def check_ridge(folder: Path, ours: dict, d: Differences) -> None:
    for name, got in ours.items():
        p = load_file(folder / f"ridge-{name}.safetensors")
        x, y, ok = p["features"].astype("float64"), p["water"], p["usable"] == 1
        guess, penalties = out_of_fold(x, y, ok, p["fold"].astype(int), p["group"].astype(int))
        d.equal("penalties", name, got["penalties"], penalties)
        d.see("ridge's predictions", name, float(abs(np.array(got["predictions"]) - guess).max()), 0.0)
        total = lambda of: ((y - y[of].mean())[of] ** 2).sum()
        r2 = lambda of: 1 - ((guess - y)[of] ** 2).sum() / total(of) if np.ptp(y[of]) else None
        d.see("quick r2", name, got["quick"]["r2"], r2(ok))
        d.see("quick auroc", name, got["quick"]["auroc"], roc_auc_score(y[ok] > 0.5, guess[ok]))
        for fold, event, value in got["events"]:
            d.see("quick r2 of an event", name, value, r2(ok & (p["fold"] == fold) & (p["event"] == event)))
        for word, theirs in signs(x).items():
            d.see(word, name, got["signs"][word] / max(theirs, 1), theirs / max(theirs, 1))
        print(f"{name}: {x.shape[0]} patches, {x.shape[1]} channels, seconds {got['seconds']}")


def check_demo(ours: dict, shared: Path, d: Differences) -> None:
    prototype, features, target, usable, fold = demo(shared)
    d.see("quick r2, the prototype's", "demo", ours["quick"]["r2"], prototype.quick_r2(features, target, usable, fold))
    rank = prototype.effective_rank(features)
    relative = ours["signs"]["effective_rank"] / rank
    d.see("effective rank, the prototype's (float32), relative", "demo", relative, 1.0, FLOAT32)


def check(folder: Path, shared: Path | None) -> None:
    warnings.filterwarnings("ignore")
    ours, d = json.loads((folder / "ours.json").read_text()), Differences()
    check_masks(folder, ours["masks"], ours["pools"], d)
    check_ridge(folder, ours["ridge"], d)
    if shared:
        check_demo(ours["ridge"]["demo"], shared, d)
    else:
        print("skipped: compare_metrics with the demo's prototype: its folder was not given")
    for what, (off, where) in d.largest.items():
        print(f"{off:.1e}  {what} ({where})")
    for miss in d.misses[:50]:
        print(f"MISS {miss}")
    print(f"{len(d.misses)} of the numbers are beyond their bounds")
    sys.exit(1 if d.misses else 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    verb, folder, *rest = sys.argv[1:]
    {"make": make, "check": check}[verb](Path(folder), Path(rest[0]) if rest else None)
