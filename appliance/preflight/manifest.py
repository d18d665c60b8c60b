"""What the image holds, written into it when it is built: `python -m appliance.preflight.manifest --cuda 12.6 FILE`."""

import json
from pathlib import Path

import click

from appliance import __version__

MIN_DRIVERS = {"12": "525.60.13", "13": "580.65.06"}
"""NVIDIA's oldest driver for each major version of CUDA."""


def manifest(torch: str, cuda: str | None, archs: list[str], *, promised: str) -> dict[str, object]:
    """The manifest's content. Raises click.ClickException when torch was built for another CUDA than `promised`.

    `promised` is a version such as 12.6, or "cpu" for a build without CUDA.
    """
    found = cuda or "cpu"
    if found != promised:
        raise click.ClickException(
            f"torch {torch} is built for CUDA {found}, the image is to hold {promised}. "
            "Give --build-arg TORCH_INDEX=<the index that pytorch.org names for it> and the TORCH that it has"
        )
    return {
        "version": __version__,
        "torch": torch,
        "cuda": found,
        "min_driver": MIN_DRIVERS.get(found.partition(".")[0], ""),
        "archs": archs,
    }


@click.command()
@click.option("--cuda", "promised", required=True, help="CUDA version that torch must be built for, or cpu.")
@click.argument("file", type=click.Path(path_type=Path))
def main(promised: str, file: Path) -> None:
    """Write the manifest to FILE."""
    import torch

    archs = torch._C._cuda_getArchFlags() if torch.version.cuda else ""
    content = manifest(torch.__version__, torch.version.cuda, (archs or "").split(), promised=promised)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
