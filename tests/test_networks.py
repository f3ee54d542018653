import numpy as np
import pytest
import torch

from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.parity import parity
from zsd_train.config import PRESETS, NetworkConfig
from zsd_train.forward import downsample, smoothly_upsampled
from zsd_train.networks.build import build, parameter_count
from zsd_train.networks.dual_stage import DualStageRCAN, DualStageUNet
from zsd_train.networks.prune import prunes, student


@pytest.mark.parametrize(
    ("network", "parameters"),  # the published networks, and reference/networks.json
    [
        (DualStageUNet(32, 4, 3, 128), 13_109_010),
        (DualStageUNet(32, 2, 2, 128), 823_410),
        (DualStageUNet(32, 1, 2, 64, axes="zyx"), 557_394),
        (DualStageRCAN(), 2_003_490),
        (DualStageRCAN(64, 1, 64), 672_138),
    ],
)
def test_published_parameter_counts(network, parameters):
    assert parameter_count(network) == parameters


def test_the_reference_preset_is_the_published_network():
    network = PRESETS["reference", "yx"]["network"]
    assert (network.width, network.depth, network.convs, network.head) == (32, 4, 3, 128)


def small(grid_factor=2, window=(3, 5, 5)):
    return {
        "unet": DualStageUNet(4, 3, 2, 8, grid_factor),
        "unet3d": DualStageUNet(4, 2, 2, 8, grid_factor, axes="zyx"),
        "rcan3d": DualStageRCAN(6, 2, 8, grid_factor, squeezed=2, window=window),
        "rcan3d, global": DualStageRCAN(6, 2, 8, grid_factor, squeezed=2, window=None),
    }


@pytest.mark.parametrize("grid_factor", [1, 2])
@pytest.mark.parametrize("name", small())
def test_output_shapes(name, grid_factor):
    network = small(grid_factor)[name]
    depth = (5,) if network.axes == "zyx" else ()
    denoised, deconvolved = network(torch.zeros(2, 1, *depth, 16, 24))
    assert denoised.shape == (2, 1, *depth, 16, 24)
    assert deconvolved.shape == (2, 1, *depth, 16 * grid_factor, 24 * grid_factor)
    assert [denoised.shape[2:], deconvolved.shape[2:]] == [
        tuple(n * k for n, k in zip((*depth, 16, 24), scale, strict=True)) for scale in network.scales
    ]


@pytest.mark.parametrize("name", small())
@pytest.mark.parametrize("depth", [1, 7])
def test_the_graph_computes_what_the_network_does_at_any_size(name, depth):
    torch.manual_seed(0)
    network = small()[name].eval()
    for last in (network.to_denoised, network.to_deconvolved):
        torch.nn.init.normal_(last.weight)  # not the flat image that training starts from
    shape = (depth, 40, 24)[-len(network.axes) :]
    outputs = parity(network, to_onnx(network), np.random.default_rng(0).random(shape, np.float32))
    assert [o.shape[2:] for o in outputs] == [
        tuple(n * k for n, k in zip(shape, scale, strict=True)) for scale in network.scales
    ]


def test_attention_over_a_window_is_the_same_in_every_tile_and_over_all_it_is_not():
    torch.manual_seed(0)
    image = torch.rand(1, 1, 6, 40, 96)
    image[..., 64:] *= 5
    tile, reach = 64, 2 * (1 + 2 * 2 + 2) + 4 * (5 // 2)  # pixels: of convolutions in a row, and 4 windows
    differences = {}
    for name in ("rcan3d", "rcan3d, global"):
        network = small(grid_factor=1)[name].eval()
        with torch.inference_mode():
            whole, part = network(image).deconvolved[..., :tile], network(image[..., :tile]).deconvolved
        error = (whole - part).abs() / whole.std()
        differences[name] = error.amax((0, 1, 2, 3))
    assert differences["rcan3d"][: tile - reach].max() < 1e-5
    assert differences["rcan3d"][tile - reach :].max() > 1e-3
    assert differences["rcan3d, global"][: tile - reach].max() > 1e-3


@pytest.mark.parametrize(("axes", "shape"), [("yx", (24, 32)), ("zyx", (3, 24, 32))])
def test_a_shuffled_head_begins_without_a_checkerboard(axes, shape):
    torch.manual_seed(0)
    network = build(NetworkConfig(width=4, depth=2, head=8, upsampling="shuffle"), axes)
    features = network.head(network.deconvolve(torch.rand(1, 1, *shape)))
    assert features.shape[1:] == (4, *shape[:-2], *(2 * n for n in shape[-2:]))
    first, *others = (features[..., y::2, x::2] for y in (0, 1) for x in (0, 1))
    for other in others:
        torch.testing.assert_close(other, first)
    network.head[-2].weight.data.normal_()  # the four pixels are free to differ
    features = network.head(network.deconvolve(torch.rand(1, 1, *shape)))
    assert not torch.allclose(features[..., ::2, ::2], features[..., 1::2, ::2])


def test_a_smaller_shuffled_network_takes_whole_groups_of_filters():
    torch.manual_seed(0)
    teacher = build(NetworkConfig(width=8, depth=2, head=16, upsampling="shuffle", coarse=True), "yx")
    same = student(NetworkConfig(width=8, depth=2, head=16, upsampling="shuffle", coarse=True), teacher)
    x = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(same(x).deconvolved, teacher(x).deconvolved)
    teacher.head[-2].bias.data = torch.arange(32.0)  # each filter is known by its bias
    smaller = student(NetworkConfig(width=4, depth=2, head=8, upsampling="shuffle", coarse=True), teacher)
    groups = smaller.head[-2].bias.data.view(-1, 4)
    assert len(groups) == 4
    torch.testing.assert_close(groups, groups[:, :1] + torch.arange(4.0))
    assert (groups[:, 0] % 4 == 0).all()
    assert not prunes(build(NetworkConfig(width=4, depth=2, head=8), "yx"), teacher)


def test_a_coarse_result_is_mixed_in():
    config = NetworkConfig(width=4, depth=2, head=8, coarse=True)
    torch.manual_seed(0)
    network, plain = build(config, "yx"), build(config.model_copy(update={"coarse": False}), "yx")
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if "mixture" not in k})
    image = torch.rand(1, 1, 48, 64)
    fine, coarse = plain.denoised(image), smoothly_upsampled(plain.denoised(downsample(image, 2)), 2)
    assert network.size_multiple == (8, 8)
    assert not torch.allclose(fine, coarse, atol=1e-3)
    for bias, expected in ((-100.0, fine), (100.0, coarse), (0.0, (fine + coarse) / 2)):
        torch.nn.init.constant_(network.to_mixture.bias, bias)
        torch.testing.assert_close(network.denoised(image), expected)


def test_linear_upsampling_keeps_places_and_flat_parts():
    ramp = torch.arange(8.0).expand(1, 1, 3, 8, 8)
    fine = smoothly_upsampled(ramp, 2)
    assert fine.shape == (1, 1, 3, 16, 16)
    torch.testing.assert_close(fine[0, 0, 0, 5, 1:-1], torch.arange(14) / 2 + 0.25)
    torch.testing.assert_close(downsample(fine, 2)[..., 1:-1], ramp[..., 1:-1])
