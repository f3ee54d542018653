"""Noise2Void and DecoNoising: what is blind, what is compared, what the networks give."""

import numpy as np
import pytest
import torch

from tests.command import zsd
from tests.test_schemes import config, error, frames
from zsd_export import export
from zsd_export.compress import compress
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.parity import parity
from zsd_optics.noise_model import NoiseModel, known_noise
from zsd_optics.psf import gaussian_psf, widefield_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError, load_model
from zsd_runtime.images import Image, Voxel, write_image
from zsd_runtime.package import read_package
from zsd_train import load_run, train
from zsd_train.config import AdditiveConfig, NetworkConfig, make_config
from zsd_train.forward import light_path
from zsd_train.networks.build import build, parameter_count
from zsd_train.networks.fixed_blur import FixedBlur, separated
from zsd_train.networks.unet import MaxBlurPool
from zsd_train.objective import objective
from zsd_train.schemes import BlindSpot, Noise2Void
from zsd_train.schemes.blind_spot import CELLS, RADIUS, replaced, stratified
from zsd_train.schemes.scheme import Batch, Chance, Window

PSF = gaussian_psf(1.0)
QUICK = {"holdout": 0, "batch": 4, "learning_rate": 4e-3}  # validations would take most of a short training
NOISE = known_noise(100, 1.0, 2.0)
SHAPES = [(32, 40), (33, 47), (5, 32, 36)]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def sampled(scheme, image, seed=0):
    """The sample that a scheme makes of a normalised image (C, [Z,] Y, X) of white noise."""
    scheme = scheme.chosen(NOISE, "yx" if image.ndim == 3 else "zyx")
    window = Window(image.numpy(), image, torch.ones(image.shape[1:]), NOISE, 0, 1)
    return scheme.sample(window, Chance(0.5, True), rng(seed))


def as_batch(sample):
    return Batch(sample.noisy[None], sample.target[None], sample.mask[None], torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize(("axes", "many"), [("yx", (6000, 6000)), ("zyx", (300, 400, 300))])
def test_each_pixel_is_blind_equally_often(axes, many):
    """Cells are alike, so that the places within them stand for all pixels; 1 in 32 within 2 %."""
    cell = CELLS[axes]
    spots = stratified(many, cell, rng())
    assert len(spots) == pytest.approx(np.prod(many) / 32, rel=0.001)
    places = spots % torch.tensor(cell)
    counts = torch.zeros(cell).index_put_(tuple(places.T), torch.ones(len(places)), accumulate=True)
    assert counts.min() > 0.98 * counts.mean()
    assert counts.max() < 1.02 * counts.mean()


def test_pixels_of_cells_that_the_border_cuts_are_blind_as_often():
    counts = torch.zeros(6, 11)
    draws = 8000
    for seed in range(draws):
        spots = stratified((6, 11), (4, 8), rng(seed))
        counts[tuple(spots.T)] += 1
    share = counts / draws * 32
    assert share[4:].mean() == pytest.approx(1, abs=0.04)
    assert share[:, 8:].mean() == pytest.approx(1, abs=0.04)
    assert share[:4, :8].mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [(0, 0), (0, 3), (2, 0), (1, 2)])
def test_replacements_come_from_around_the_block_and_never_from_it(shape, reach):
    """Every pixel has a value of its own, so that a value says where it comes from."""
    image = torch.arange(float(np.prod(shape))).view(shape)
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij"), -1).view(-1, len(shape))
    reach = (0,) * (len(shape) - 2) + reach
    for spot in places[:: 1 if np.prod(shape) < 2000 else 7]:
        result = replaced(image, spot[None], reach, "neighbour", rng(int(spot.sum())))
        changed = torch.nonzero(result != image)
        within = (places - spot).abs() <= torch.tensor(reach)
        assert torch.equal(changed, places[within.all(1)])  # the block as declared, cut at the border
        sources = places[result[tuple(changed.T)].long()] - spot
        distance = sources.abs() - torch.tensor(reach)
        assert (distance > 0).any(1).all()
        assert (distance[:, -2:] <= RADIUS).all()
        assert (sources[:, :-2] == 0).all()


def test_the_median_is_that_of_the_neighbours_without_the_pixel():
    image = torch.tensor(np.random.default_rng(0).normal(size=(32, 40)), dtype=torch.float32)
    spots = torch.tensor([[10, 12], [20, 30]])
    result = replaced(image, spots, (0, 0), "median", rng())
    for y, x in spots.tolist():
        around = image[y - 2 : y + 3, x - 2 : x + 3].flatten().tolist()
        del around[12]
        assert result[y, x] == pytest.approx(float(np.median(around)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scheme", [BlindSpot(), BlindSpot(reach=(0, 2)), Noise2Void(replacement="median")])
def test_a_sample_is_the_image_but_for_its_blind_pixels(shape, scheme):
    image = torch.rand(1, *shape)
    sample = sampled(scheme, image)
    assert torch.equal(sample.target, image)
    assert sample.mask.shape == image.shape
    assert (sample.noisy != image)[sample.mask.bool()].all()
    if scheme.reach == "auto":
        assert torch.equal(sample.noisy != image, sample.mask.bool())
    assert not torch.equal(sampled(scheme, image, seed=1).mask, sample.mask)
    assert torch.equal(sampled(scheme, image).noisy, sample.noisy)


@pytest.mark.parametrize("blur", ["none", "inside", "after"])
@pytest.mark.parametrize("grid_factor", [1, 2])
def test_seen_pixels_have_no_gradient(blur, grid_factor):
    scheme = BlindSpot(blur=blur, positivity=0).chosen(NOISE, "yx")
    batch = as_batch(sampled(scheme, torch.rand(1, 48, 48)))
    margin = (8, 8)
    target = batch.target[..., 8:-8, 8:-8].clone().requires_grad_()
    mask = batch.mask[..., 8:-8, 8:-8]
    batch = Batch(batch.noisy, target, mask, batch.orientation)
    psf = gaussian_psf(1.0 * grid_factor)
    network = build(
        NetworkConfig(stages=1, width=4, depth=1, phantom=blur != "none", grid_factor=grid_factor), "yx", psf
    )
    kernel = torch.tensor(psf, dtype=torch.float32)
    restored = network(batch.noisy)
    compared = scheme.compare(restored, batch, light_path(kernel, (48, 48), margin, grid_factor))
    chosen = make_config(scheme=scheme, contrast_floor=0.1)  # which must not mix pixels
    objective(compared, restored, None, chosen, scheme.penalty(restored, batch)).total.backward()
    assert (target.grad != 0)[mask.bool()].all()
    assert (target.grad == 0)[~mask.bool()].all()


def test_positivity_is_that_of_the_paper():
    scheme = BlindSpot(positivity=2.0)
    batch = as_batch(sampled(scheme, torch.rand(1, 32, 32)))
    image = torch.tensor([[[[-1.0, 1.0], [-2.0, 5.0]]]])
    restored = build(NetworkConfig(stages=1, width=4, depth=1, phantom=True), "yx")(batch.noisy)._replace(
        deconvolved=image
    )
    assert scheme.penalty(restored, batch) == pytest.approx(2 * 0.75 * float(batch.target.std()))
    assert BlindSpot(positivity=0).penalty(restored, batch) is None
    assert Noise2Void().penalty(restored, batch) is None


ROUND = ((0.04, 0.2, 0.04), (0.3, 1, 0.3), (0.04, 0.2, 0.04))
FLAT = ((0.0,) * 5, (0.0,) * 5, (0.12, 0.4, 1, 0.4, 0.12), (0.0,) * 5, (0.0,) * 5)


@pytest.mark.parametrize(
    ("noise", "reach"),
    [
        (NOISE, (0, 0)),
        (NoiseModel(1, 0, 1, 0, correlated="X"), (0, 2)),  # known to be correlated, but not how
        (NoiseModel(1, 0, 1, 0, correlated="YX", correlation=ROUND), (1, 1)),
        (NoiseModel(1, 0, 1, 0, correlated="X", correlation=FLAT), (0, 2)),
    ],
)
def test_the_mask_is_as_large_as_the_noise_is_correlated(noise, reach):
    assert noise.reach == reach
    assert BlindSpot().chosen(noise, "yx") == BlindSpot(reach=reach)
    assert BlindSpot(reach=(3, 0)).chosen(noise, "yx") == BlindSpot(reach=(3, 0))


def test_structured_masks_denoise_noise_that_neighbours_share(tmp_path):
    clean = simulate((96, 96), photons=40, camera=Camera(100, 1, 2), seed=0).clean.astype(float)
    white = np.random.default_rng(0).normal(size=(96, 100))
    noisy = (clean + 12 * sum(white[:, i : i + 96] for i in range(5)) / np.sqrt(5)).astype(np.float32)
    errors = {}
    for reach in ((0, 0), (0, 4)):
        chosen = config(Noise2Void(reach=reach), {"width": 8, "depth": 2}, steps=120, **QUICK)
        run = train([noisy], None, chosen, tmp_path / f"{reach[1]}")
        errors[reach] = error(run, noisy.astype(float))
    assert errors[0, 4] < 0.6 * errors[0, 0]


@pytest.mark.parametrize("psf", [gaussian_psf(2.0), widefield_psf(1.4, 525, 0.0313)[:-6], "3d"])
def test_the_blur_in_a_network_is_that_of_the_training(psf):
    if isinstance(psf, str):
        psf = np.random.default_rng(0).random((5, 7, 9)) ** 4
    psf = psf / psf.sum()
    shape = (8, 48, 48)[-psf.ndim :]
    factor = 2
    fine = [n * factor if i >= len(shape) - 2 else n for i, n in enumerate(shape)]
    image = torch.zeros(1, 1, *fine)
    middle = tuple(slice(n // 3, 2 * n // 3) for n in fine)
    image[(0, 0, *middle)] = torch.rand([s.stop - s.start for s in middle])
    blurred = FixedBlur(psf, factor)(image)
    expected = light_path(torch.tensor(psf, dtype=torch.float32), shape, (0,) * len(shape), factor)(
        image, torch.tensor([0])
    )
    assert blurred.shape == (1, 1, *shape)
    if psf.ndim == 2:  # the FFT wraps around; the box in the middle of a volume of 8 slices is not far from its ends
        torch.testing.assert_close(blurred, expected, atol=1e-3, rtol=0)
    else:
        torch.testing.assert_close(blurred[:, :, 3:5], expected[:, :, 3:5], atol=1e-3, rtol=0)
    assert float(blurred.sum()) <= float(image.sum()) / factor**2 * 1.0001


def test_few_filters_make_a_blur():
    along, across = separated(gaussian_psf(3.0))
    assert len(along) == 1
    psf = widefield_psf(1.4, 525, 0.0313)
    along, across = separated(psf)
    assert along.size + across.size < 0.35 * psf.size
    assert across.reshape(len(along), -1).T @ along.reshape(len(along), -1) == pytest.approx(psf[::-1, ::-1], abs=2e-4)


def test_the_published_network_has_its_number_of_weights():
    """DecoNoising's UNet(1, depth=3), but for the 3 × 3 of its last convolution, which there has 1 × 1."""
    c = 64
    down = (9 * 1 * c + c) + (9 * c * c + c) + (9 * c * 2 * c + 2 * c) + (9 * 4 * c * c + 2 * c)
    down += (9 * 2 * c * 4 * c + 4 * c) + (9 * 16 * c * c + 4 * c)
    up = (4 * 4 * c * 2 * c + 2 * c) + 2 * (9 * 4 * c * c + 2 * c) + (4 * 2 * c * c + c) + 2 * (9 * c * c + c)
    network = build(AdditiveConfig(kind="additive-unet"), "yx")
    assert parameter_count(network) == down + up + 9 * c + 1


@pytest.mark.parametrize("axes", ["yx", "zyx"])
@pytest.mark.parametrize(
    "network",
    [
        AdditiveConfig(kind="additive-unet", width=4, phantom=True, grid_factor=2),
        AdditiveConfig(kind="additive-unet", width=4),
        NetworkConfig(stages=1, width=4, depth=2, phantom=True, grid_factor=2),
        NetworkConfig(stages=1, width=4, depth=2, pooling="blur", top_skip=False, grid_factor=1),
    ],
)
def test_networks_and_their_graphs_agree(network, axes):
    psf = gaussian_psf(*[1.0] * (len(axes) - 1))
    built = build(network, axes, psf).eval()
    assert built.outputs == (("denoised", "deconvolved") if network.phantom else ("denoised",))
    image = np.random.default_rng(0).random((6, 32, 48)[-len(axes) :]).astype(np.float32)
    parity(built, to_onnx(built), image)
    restored = built(torch.tensor(image)[None, None])
    assert [tuple(i.shape[2:]) for i in restored] == [
        tuple(n * k for n, k in zip(image.shape, scale, strict=True)) for scale in built.scales
    ]


def test_pooling_without_aliasing_hardly_follows_a_shift():
    """Of single bright pixels: ordinary pooling gives other values after a shift by one pixel."""
    image = (torch.rand(1, 1, 64, 64, generator=rng()) < 0.1).float()
    shifted = image.roll((1, 1), (2, 3))
    pooled, moved = (MaxBlurPool(1, "yx")(i)[..., 4:-4, 4:-4] for i in (image, shifted))
    plain, plain_moved = (torch.nn.functional.max_pool2d(i, 2)[..., 4:-4, 4:-4] for i in (image, shifted))
    assert pooled.shape == plain.shape
    assert (pooled - moved).abs().mean() < 0.7 * (plain - plain_moved).abs().mean()


def test_noise2void_denoises_without_a_psf(tmp_path):
    image = frames(1)[0]
    run = train([image], None, config("noise2void", {"width": 8, "depth": 2}, steps=120, **QUICK), tmp_path / "run")
    assert run.network.outputs == ("denoised",)
    assert error(run, image.astype(float)) < 0.4
    assert load_run(tmp_path / "run").config.scheme == Noise2Void(reach=(0, 0))
    assert run.psf.shape == (1, 1)
    description = read_package(export(run.folder, tmp_path / "model.zip"))
    assert [output.name for output in description.outputs] == ["denoised"]
    assert description.rdf["description"].startswith("Zero-shot denoising (Noise2Void 2D)")
    assert [citation["doi"] for citation in description.rdf["cite"]] == ["10.1109/CVPR.2019.00223"]
    assert description.facts["trained_on"]["PSF"] == "none"
    assert run.measured.held_out_error is None  # there were no held-out tiles: nothing in a description is NaN


@pytest.mark.parametrize("chosen", [{"blur": "inside"}, {"blur": "after"}, {"positivity": 0.0}])
def test_deconoising_gives_an_image_and_its_blur(tmp_path, chosen):
    image = frames(1)[0]
    scheme = {"kind": "blind-spot"} | chosen
    run = train([image], PSF, config(scheme, {"width": 8, "depth": 2}, steps=120, **QUICK), tmp_path / "run")
    assert error(run, image.astype(float)) < 0.6
    scaled = torch.tensor((image[None, None].astype(np.float32) - run.offset) / run.scale)
    with torch.inference_mode():
        denoised, deconvolved = load_run(tmp_path / "run").network(scaled)
    kernel = torch.tensor(PSF, dtype=torch.float32)
    blurred = light_path(kernel, image.shape, (0, 0), 1)(deconvolved, torch.tensor([0]))
    torch.testing.assert_close(blurred[..., 8:-8, 8:-8], denoised[..., 8:-8, 8:-8], atol=2e-3, rtol=0)
    assert deconvolved.std() > denoised.std()
    if chosen == {"blur": "inside"}:
        assert float(deconvolved.min()) > -0.05 * float(deconvolved.max())


def test_volumes_too(tmp_path):
    rng = np.random.default_rng(0)
    volume = (rng.poisson(20 * np.ones((8, 48, 48))) + 100).astype(np.uint16)
    network = {"width": 4, "grid_factor": 2}
    chosen = make_config(
        axes="zyx", scheme="blind-spot", network=network, patch=32, slices=4, batch=1, steps=6, device="cpu"
    )
    run = train([volume], gaussian_psf(1.0, 2.0), chosen, tmp_path / "run")
    assert run.network(torch.zeros(1, 1, 4, 16, 16)).deconvolved.shape == (1, 1, 4, 32, 32)
    plain = chosen.model_copy(update={"scheme": Noise2Void()})
    with pytest.raises(InputError, match="noise2void has no use for a PSF"):
        train([volume], gaussian_psf(1.0, 2.0), plain, tmp_path / "other")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_package_gives_both_images(blind_spot_folder, precision, tmp_path):
    package = export(blind_spot_folder, tmp_path / "model.zip", precision=precision)
    description = read_package(package)
    assert [(o.name, o.scale) for o in description.outputs] == [("denoised", (1, 1)), ("deconvolved", (1, 1))]
    assert "DecoNoising 2D" in description.rdf["description"]
    assert [c["doi"] for c in description.rdf["cite"]] == ["10.48550/arXiv.2008.08414", "10.1109/CVPR.2019.00223"]
    image = frames(1, (200, 230))[0]
    with load_model(package, "cpu") as model:
        whole = model.predict(image)
        tiled = model.predict(image, tile=(96, 96))
    for name in ("denoised", "deconvolved"):
        span = float(np.ptp(whole[name]))
        assert np.abs(whole[name] - tiled[name]).max() < (1e-3 if precision == "fp32" else 0.05) * span
    # At the border too: what lies beyond is continued, not zero.
    blurred = light_path(torch.tensor(PSF, dtype=torch.float32), image.shape, (0, 0), 1)
    inner = blurred(torch.tensor(whole.deconvolved)[None, None], torch.tensor([0]))[0, 0].numpy()
    rim = np.ones(image.shape, bool)
    rim[8:-8, 8:-8] = False
    assert whole.denoised[rim].mean() == pytest.approx(inner[rim].mean(), rel=0.02)


def test_a_smaller_network_learns_from_it(blind_spot_folder, tmp_path):
    compress(blind_spot_folder, tmp_path / "small", width=4, choices={"steps": 5, "batch": 2, "device": "cpu"})
    student = load_run(tmp_path / "small")
    assert student.network.outputs == ("denoised", "deconvolved")
    assert student.measured.method == "DecoNoising"
    assert student.measured.compressed["started_from"] == "the teacher's strongest filters"
    network = {"stages": 1, "width": 4, "depth": 2, "phantom": False}
    with pytest.raises(InputError, match=r"would give denoised, that of .* gives denoised and deconvolved"):
        compress(blind_spot_folder, tmp_path / "other", choices={"steps": 5, "network": network | {"grid_factor": 1}})


def test_the_command_line_needs_a_psf_for_one_and_none_for_the_other(tmp_path):
    write_image(tmp_path / "noisy.tif", Image(frames(1)[0], "YX", Voxel.square(0.1)))
    small = tmp_path / "small.toml"
    small.write_text("patch = 32\nbatch = 2\nholdout = 0\n[network]\nwidth = 4\n")
    given = ["train", tmp_path / "noisy.tif", "--config", small, "--steps", 5, "--device", "cpu"]
    assert "OK" in zsd(*given, "--scheme", "noise2void", "--out", tmp_path / "n2v").stdout
    assert "OK" in zsd(*given, "--scheme", "blind-spot", "--psf-sigma", 1, "--out", tmp_path / "deco").stdout
    failed = zsd(*given, "--scheme", "blind-spot", "--out", tmp_path / "none")
    assert failed.returncode == 2
    assert "noise2void" in failed.stderr
    failed = zsd(*given, "--scheme", "noise2void", "--psf-sigma", 1, "--out", tmp_path / "none")
    assert failed.returncode == 2
    assert "has no use for a PSF" in failed.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheme": {"kind": "blind-spot", "positivity": -1}}, "positivity = -1"),
        ({"scheme": {"kind": "blind-spot", "blur": "outside"}}, "blur = 'outside'"),
        ({"scheme": {"kind": "noise2void", "replacement": "mean"}}, "replacement = 'mean'"),
        ({"scheme": {"kind": "noise2void", "blur": "inside"}}, "blur = 'inside'"),
        ({"scheme": {"kind": "blind-spot", "reach": (0, 9)}}, "reach .* 0 to 8"),
        ({"scheme": {"kind": "blind-spot", "reach": (-1, 0)}}, "reach .* 0 to 8"),
        (
            {"preset": "reference", "scheme": "blind-spot", "network": {"pooling": "max"}},
            "pooling is not for",
        ),
        ({"network": {"phantom": True}}, "phantom is for networks of one stage"),
        ({"network": {"stages": 2, "pooling": "blur"}}, "pooling is for networks of one stage"),
        ({"network": {"kind": "additive-unet", "stages": 2}}, "stages = 2"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(InputError, match=message):
        make_config(**values)


def test_a_scheme_brings_its_network_and_what_a_person_says_stands():
    chosen = make_config(scheme="blind-spot", preset="reference")
    assert chosen.network == AdditiveConfig(kind="additive-unet", phantom=True)
    assert chosen.hessian_weight == chosen.contrast_floor == chosen.positivity_weight == 0
    own = make_config(scheme="noise2void", hessian_weight=0.1, network={"width": 6, "grid_factor": 2})
    assert (own.hessian_weight, own.network.width, own.network.stages, own.network.phantom) == (0.1, 6, 1, False)
    volumes = make_config(scheme="blind-spot").for_axes("zyx")
    assert volumes.network == make_config(scheme="blind-spot", axes="zyx").network


def test_a_package_in_another_format_cites_the_same_papers(packages):
    old, new = (read_package(packages[f"blind-spot {name}"]).rdf for name in ("deepimagej", "zoo"))
    assert [c["doi"] for c in old["cite"]] == [c["doi"] for c in new["cite"]]
    assert "10.48550/arXiv.2008.08414" in {citation["doi"] for citation in old["cite"]}


@pytest.mark.parametrize(
    ("scheme", "network", "message"),
    [
        ("noise2void", {"stages": 2}, "stages = 1, and network.stages is 2"),
        ("noise2void", {"phantom": True}, "phantom = false, and network.phantom is true"),
        ("noise2void", {"grid_factor": 2}, "grid_factor = 1"),
        ("noise2void", {"channels": 2}, "channels = 1"),
        ("blind-spot", {"phantom": False}, "phantom = true"),
    ],
)
def test_networks_that_cannot_learn_so_are_refused(scheme, network, message, tmp_path):
    psf = PSF if scheme == "blind-spot" else None
    with pytest.raises(InputError, match=message):
        train([frames(1)[0]], psf, config(scheme, {"width": 4} | network), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("psf", [gaussian_psf(6.0), gaussian_psf(2.0, 3.0)])
def test_the_blur_keeps_the_light_at_the_border(psf):
    image = torch.ones(1, 1, *(12, 64, 64)[-psf.ndim :])
    torch.testing.assert_close(FixedBlur(psf, 1)(image), image, atol=1e-4, rtol=0)


def test_a_student_with_another_pooling_starts_from_random_weights(blind_spot_folder, tmp_path):
    network = {"stages": 1, "width": 4, "depth": 2, "phantom": True, "grid_factor": 1, "top_skip": False}
    compress(blind_spot_folder, tmp_path / "small", choices={"steps": 2, "network": network, "device": "cpu"})
    assert load_run(tmp_path / "small").measured.compressed["started_from"] == "random weights"


def test_the_file_and_the_command_line_choose_a_scheme_together(tmp_path):
    write_image(tmp_path / "noisy.tif", Image(frames(1)[0], "YX", Voxel.square(0.1)))
    small = "patch = 32\nbatch = 2\nholdout = 0\nsteps = 3\n[network]\nwidth = 4\n[scheme]\n"
    (tmp_path / "small.toml").write_text(small + 'kind = "noise2void"\nreach = [0, 1]\n')
    given = ["train", tmp_path / "noisy.tif", "--config", tmp_path / "small.toml", "--device", "cpu"]
    zsd(*given, "--scheme", "noise2void", "--out", tmp_path / "run")
    assert load_run(tmp_path / "run").config.scheme == Noise2Void(reach=(0, 1))
    failed = zsd(*given, "--scheme", "recorrupt", "--psf-sigma", 1, "--out", tmp_path / "other")
    assert failed.returncode == 2
    assert "describes scheme noise2void" in failed.stderr


def test_the_warning_on_shared_noise_says_what_is_done(tmp_path):
    white = np.random.default_rng(0).normal(size=(200, 201))
    noisy = 200 + 12 * (white[:, 1:] + white[:, :-1])
    said = []
    chosen = config("noise2void", {"width": 4, "depth": 1}, steps=2, holdout=0)
    train([noisy.astype(np.float32)], None, chosen, tmp_path / "run", report=lambda p: said.append(p.message))
    (warning,) = [text for text in said if "correlated" in text]
    assert "hides all pixels that share the noise" in warning
    assert "odd and even" not in warning
