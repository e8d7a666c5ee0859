"""Lets PyTorch write one model in many files, for the tests `variants_…` of tests/it/unpickle.rs.

    python tests/save_variants.py CKPT OUT

`tiny-*`: the encoder of CKPT as a trainer, a script or another library would save it. `full-*`: an encoder of the size
of Clay's own small model, 768 wide and 12 deep, with random weights.
"""
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

ENCODER = "model.encoder."
WIDTHS = {16: 768, 32: 3072, 128: 768, 384: 2304}  # D, M, heads x 64, three times that, of a golden 16 wide


def full_size(tiny: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same keys, wider and deeper; kernels keep their 32 pixels."""
    def wide(tensor: torch.Tensor) -> torch.Tensor:
        kept = tensor.shape[1:] if tensor.ndim == 4 or tensor.shape[-1] < 16 else ()
        return torch.randn(*(WIDTHS[n] for n in tensor.shape[: tensor.ndim - len(kept)]), *kept) * 0.02

    layers = {f"{key.split('.0.', 1)[0]}.{i}.{key.split('.0.', 1)[1]}": wide(value)
              for key, value in tiny.items() if "layers.0." in key for i in range(12)}
    return layers | {key: wide(value) for key, value in tiny.items() if "layers." not in key}


def main(source: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = torch.load(source, map_location="cpu", weights_only=False)
    encoder = {k.removeprefix(ENCODER): v for k, v in checkpoint["state_dict"].items() if k.startswith(ENCODER)}
    named = {ENCODER + key: value for key, value in encoder.items()}
    torch.save(checkpoint, out / "tiny-lightning.ckpt")
    torch.save(encoder, out / "tiny-encoder.pt")
    torch.save({"module." + key: value for key, value in named.items()}, out / "tiny-parallel.pth")
    torch.save({"state_dict": {k.replace("encoder.", "encoder._orig_mod."): v for k, v in named.items()}, "epoch": 3},
               out / "tiny-compiled.ckpt")
    torch.save({key: torch.nn.Parameter(value) for key, value in named.items()}, out / "tiny-parameters.pt")
    # Transposed in memory, and all in one storage, as a flattened optimizer leaves them.
    torch.save({k: v.t().contiguous().t() if v.ndim == 2 else v for k, v in named.items()}, out / "tiny-strided.pt")
    flat = torch.cat([value.flatten() for value in named.values()])
    parts = flat.split([value.numel() for value in named.values()])
    torch.save({k: part.view(v.shape) for (k, v), part in zip(named.items(), parts)}, out / "tiny-flat.pt")
    save_file({k: v.contiguous() for k, v in named.items()}, out / "tiny-library.safetensors")
    torch.save({"state_dict": full_size(encoder), "epoch": 0}, out / "full-size.ckpt")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]))
