"""What is written into the image, and the build that is refused."""

import json

import click
import pytest

from appliance.preflight.manifest import manifest
from appliance.preflight.need import Need, from_manifest


def test_the_manifest_is_what_preflight_reads():
    made = manifest("2.13.0+cu126", "12.6", ["sm_80", "sm_90"], promised="12.6")
    need = from_manifest(json.dumps(made), Need())
    assert (need.torch, need.cuda, need.min_driver) == ("2.13.0+cu126", "12.6", "525.60.13")
    assert need.archs == ("sm_80", "sm_90")
    assert need.gpus == 1


def test_an_image_without_cuda_asks_for_no_gpu():
    made = manifest("2.13.0+cpu", None, [], promised="cpu")
    assert from_manifest(json.dumps(made), Need()).gpus == 0


@pytest.mark.parametrize(("cuda", "promised"), [("13.0", "12.6"), (None, "12.6"), ("12.6", "cpu")])
def test_another_build_of_torch_ends_the_build(cuda, promised):
    with pytest.raises(click.ClickException, match="TORCH_INDEX"):
        manifest("2.13.0", cuda, [], promised=promised)
