"""Compares reports of `clay-probe probe --json` to the bit; called by tests/reports_equal.sh. Python's own library only.

    python tests/reports.py equal OLD NEW           every number of OLD is in NEW, with the same digits
    python tests/reports.py expected CPU FILES...   the numbers have the digests of fixtures/reports/expected.json for
                                                    this kind of CPU; a kind that is not there is skipped, and said
    python tests/reports.py record CPU FILES...     writes those digests

A report is named after its golden folder, `<name>.json`. Floats are compared by their text.
"""
import hashlib
import json
import sys
from pathlib import Path

EXPECTED = Path(__file__).parent / "fixtures/reports/expected.json"

# What two runs of one program differ in, or what only words tell.
MAY_DIFFER = {"path", "seconds", "versions", "device_reason", "dataset.decoded"}
# What the digests are of: all that is computed. A key that comes later changes none of them.
NUMBERS = ("weights_digest", "encoder", "preparation", "fits", "heads", "chip_scores", "chips_encoded")
# Of a head: those that follow from counts; the others are read off the same logits.
METRICS = ("iou", "dice", "f1", "precision", "recall", "loss")


def read(path: str) -> dict:
    return json.loads(Path(path).read_text(), parse_float=lambda text: f"float {text}")


def differences(old, new, at: str = ""):
    """Paths at which the new report lacks or changes what the old one says; keys of the new one alone are additions."""
    if at in MAY_DIFFER:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            below = f"{at}.{key}" if at else key
            if key in new:
                yield from differences(value, new[key], below)
            elif below not in MAY_DIFFER:
                yield f"{below}: is gone"
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{at}: {len(old)} entries became {len(new)}"
        for i, (a, b) in enumerate(zip(old, new)):
            yield from differences(a, b, f"{at}[{i}]")
    elif old != new:
        yield f"{at}: {old} became {new}"


def equal(old: str, new: str) -> bool:
    wrong = list(differences(read(old), read(new)))
    for line in wrong[:20]:
        print(f"  {line}")
    if len(wrong) > 20:
        print(f"  and {len(wrong) - 20} more")
    print(f"{Path(old).stem}: {'equal' if not wrong else f'{len(wrong)} values differ'}")
    return not wrong


def digests(path: str) -> dict[str, str]:
    """Digest per part, so that a change says where it is."""
    report = read(path)
    for head in report["heads"].values():
        head["summary"] = {metric: head["summary"][metric] for metric in METRICS}
        head["seeds"] = [{key: seed[key] for key in ("seed", "metrics")} for seed in head["seeds"]]
    canonical = {key: json.dumps(report[key], sort_keys=True, separators=(",", ":")) for key in NUMBERS}
    return {key: hashlib.sha256(text.encode()).hexdigest() for key, text in canonical.items()}


def expected(cpu: str, files: list[str]) -> bool:
    known = json.loads(EXPECTED.read_text())["digests"]
    if cpu not in known:
        print(f"skipped: reports: not measured on `{cpu}`; measured on {', '.join(f'`{key}`' for key in known)}")
        return True
    right = True
    for file in files:
        name, found = Path(file).stem, digests(file)
        moved = [key for key in NUMBERS if found[key] != known[cpu].get(name, {}).get(key)]
        print(f"{name}: " + (f"other numbers in {', '.join(moved)}" if moved else "the numbers expected"))
        right = right and not moved
    return right


def record(cpu: str, files: list[str]) -> bool:
    held = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {"digests": {}}
    held["digests"][cpu] = {Path(file).stem: digests(file) for file in files}
    EXPECTED.parent.mkdir(exist_ok=True)
    EXPECTED.write_text(json.dumps(held, indent=1) + "\n")
    return True


def main() -> int:
    match sys.argv[1:]:
        case ["equal", old, new]:
            right = equal(old, new)
        case ["expected", cpu, *files]:
            right = expected(cpu, files)
        case ["record", cpu, *files]:
            right = record(cpu, files)
        case _:
            print(__doc__)
            return 2
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
