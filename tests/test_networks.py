import pytest
import torch

from zsd_train.config import PRESETS
from zsd_train.networks.dual_stage import DualStageUNet, parameter_count


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [((32, 4, 3, 128), 13_109_010), ((32, 2, 2, 128), 823_410)],  # the published network; reference/networks.json
)
def test_published_parameter_counts(shape, parameters):
    assert parameter_count(DualStageUNet(*shape)) == parameters


def test_the_reference_preset_is_the_published_network():
    network = PRESETS["reference"]["network"]
    assert (network.width, network.depth, network.convs, network.head) == (32, 4, 3, 128)


@pytest.mark.parametrize("upsample", [1, 2])
def test_output_shapes(upsample):
    denoised, deconvolved = DualStageUNet(4, 3, 2, 8, upsample)(torch.zeros(2, 1, 16, 24))
    assert denoised.shape == (2, 1, 16, 24)
    assert deconvolved.shape == (2, 1, 16 * upsample, 24 * upsample)
