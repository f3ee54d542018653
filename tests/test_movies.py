"""Movies: networks that see a frame between its neighbours in time."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch

from tests.command import zsd
from tests.conftest import TINY
from zsd_export import convert, export
from zsd_export.compress import compress
from zsd_export.graph.to_onnx import to_onnx
from zsd_export.measure.parity import parity
from zsd_export.report.report import judge
from zsd_optics.noise import known_noise
from zsd_optics.psf import gaussian_psf
from zsd_optics.simulate import Camera, simulate
from zsd_runtime import InputError, load_model
from zsd_runtime.corrections.corrected import Corrected
from zsd_runtime.engines import run_once
from zsd_runtime.engines.onnxruntime import OnnxRuntime
from zsd_runtime.live.restorers import Models
from zsd_runtime.neighbours import Neighbours, check_none_blank, neighbours
from zsd_runtime.package import read_package
from zsd_train import TrainConfig, load_run, train
from zsd_train.config import MOVIE_ALPHA, make_config
from zsd_train.frames import Frame
from zsd_train.motion import LARGEST, motion_weight
from zsd_train.movies import frames_of, in_time
from zsd_train.networks.build import build
from zsd_train.sampler import Sampler
from zsd_train.schemes import Recorrupt
from zsd_train.schemes.scheme import Sample
from zsd_train.start import start_of

PSF = gaussian_psf(2.0)
TRAINING = {"frames": 3, "network": TINY, "patch": 32, "batch": 2, "steps": 8, "device": "cpu", "precision": "fp32"}
CONFIG = TrainConfig(**TRAINING)


def scene(frames, shape=(96, 112), photons=30):
    """A movie (T, Y, X) of a structure that moves one pixel a frame."""
    rng, camera = np.random.default_rng(0), Camera(100, 2, 2)
    clean = simulate(shape, photons=photons, camera=camera, seed=0).clean - 100.0
    return np.stack([camera.expose(np.roll(clean, t, -1), rng) for t in range(frames)])


@pytest.fixture(scope="module")
def movie():
    return scene(6)


@pytest.fixture(scope="module")
def run(movie, tmp_path_factory):
    return train([movie], PSF, CONFIG, tmp_path_factory.mktemp("movies") / "run")


@pytest.fixture(scope="module")
def package(run, tmp_path_factory):
    return export(run.folder, tmp_path_factory.mktemp("exported") / "movie.zip")


@pytest.mark.parametrize(
    ("time", "frames", "length", "expected"),
    [
        (2, 1, 5, [2]),
        (2, 3, 5, [1, 2, 3]),
        (0, 3, 5, [1, 0, 1]),
        (4, 3, 5, [3, 4, 3]),
        (1, 5, 5, [3, 0, 1, 2, 3]),  # mirrored at the movie's end it would be its own neighbour
        (3, 5, 5, [1, 2, 3, 4, 1]),
        (0, 7, 7, [3, 2, 1, 0, 1, 2, 3]),
    ],
)
def test_neighbours(time, frames, length, expected):
    assert neighbours(time, frames, length) == expected


@pytest.mark.parametrize("frames", [3, 5, 7])
def test_no_frame_is_its_own_neighbour(frames):
    for length in range(frames, 2 * frames):
        for time in range(length):
            near = neighbours(time, frames, length)
            assert near.pop(frames // 2) == time
            assert time not in near
            assert all(0 <= other < length for other in near)


class Counted:
    """An array that counts what is read of it."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, []

    def __getitem__(self, box):
        self.read.append(box)
        return self.data[box]


def test_a_view_shows_neighbours_and_reads_each_part_once():
    data = np.random.default_rng(0).integers(0, 99, (5, 2, 8, 9))
    counted = Counted(data)
    view = Neighbours(counted, 3, time=0, spatial=2)
    assert view.shape == (5, 2, 3, 8, 9)
    box = (slice(2, 7), slice(0, 9))
    for channel in range(2):
        for time in range(5):
            shown = np.stack([view[(time, channel, near, *box)] for near in range(3)])
            np.testing.assert_array_equal(shown, data[(neighbours(time, 3, 5), channel, *box)])
    assert len(counted.read) == 2 * 5
    forgetful = Neighbours(counted, 3, time=0, spatial=2, held=1)
    np.testing.assert_array_equal(forgetful[(0, 1, 0, *box)], data[(1, 1, *box)])
    forgetful[(0, 1, 1, *box)], forgetful[(0, 1, 2, *box)]
    assert len(counted.read) == 2 * 5 + 3


def sampler_of(images, scheme, holdout=0.0, **options):
    lengths = [len(images)]
    frames = [Frame.of(image[None], holdout, np.random.default_rng(0)) for image in images]
    frames = in_time(frames, lengths, 3) if options else frames
    camera = {"noise": known_noise(100, 2, 2), "offset": 100, "scale": 50}
    return Sampler(frames[2:3], scheme, patch=(32, 32), margin=(4, 4), **camera, **options)


def test_the_target_is_the_frame_itself_and_its_neighbours_are_as_noisy():
    rng, camera = np.random.default_rng(0), Camera(100, 2, 2)
    movie = np.stack([camera.expose(np.full((96, 96), 40.0), rng) for _ in range(5)])
    images, lengths = frames_of([movie], 3, 2)
    assert lengths == [5]
    scheme = Recorrupt(alpha=(1.0, 1.0))  # halves: input and target are two of the same mean
    rngs = [torch.Generator().manual_seed(n) for n in (0, 1)]
    batch = sampler_of(images, scheme, frames_seen=3).draw(16, *rngs)
    assert batch.noisy.shape == (16, 3, 40, 40)
    assert batch.target.shape == (16, 1, 32, 32)
    counts = 50 * (batch.noisy[:, 1, 4:-4, 4:-4] + batch.target[:, 0]).numpy() / 2 + 100
    assert np.abs(counts - counts.round()).max() < 1e-3  # together they are what the camera counted
    seen, target = batch.noisy[:, :, 4:-4, 4:-4], batch.target[:, 0].flatten()
    noise = [seen[:, near].flatten() for near in range(3)]
    for values in noise:
        assert float(values.std() / noise[1].std()) == pytest.approx(1, abs=0.05)
        assert abs(float(torch.corrcoef(torch.stack([values, target]))[0, 1])) < 0.05


def test_each_channel_is_a_frame_in_its_place(movie):
    untouched = Untouched()
    rngs = [torch.Generator().manual_seed(n) for n in (0, 1)]
    batch = sampler_of([*movie], untouched, frames_seen=3).draw(1, *rngs)
    for near, time in enumerate((1, 2, 3)):
        assert _is_part(batch.noisy[0, near].numpy() * 50 + 100, movie[time])
        assert not _is_part(batch.noisy[0, near].numpy() * 50 + 100, movie[4])
    assert _is_part(batch.target[0, 0].numpy() * 50 + 100, movie[2])


class Untouched(Recorrupt):
    """Input and target are the image as it is."""

    kind: str = "toy-untouched"

    def sample(self, window, _chance, _noise_rng):
        return Sample(window.image, window.image, window.mask[None])


def test_pixels_count_more_where_the_frames_before_and_after_differ():
    rng, camera = np.random.default_rng(0), Camera(100, 2, 2)
    still = np.full((64, 64), 20.0)
    bright = still.copy()
    bright[20:26, 20:26] += 60
    before, after, later = (camera.expose(frame, rng).astype(float) for frame in (still, bright, bright))
    noise = known_noise(100, 2, 2)
    moved, same = motion_weight(before, after, noise), motion_weight(after, later, noise)
    assert moved[23, 23] == LARGEST
    assert same.max() < 4
    assert 1 <= np.median(same) < 1.5
    assert np.median(moved[40:, 40:]) < 1.5
    faded = camera.expose(0.9 * bright, rng).astype(float)
    assert np.median(motion_weight(before, faded, noise)) < 1.5


def test_what_moves_counts_more_in_training_and_not_when_it_is_judged():
    rng, camera = np.random.default_rng(0), Camera(100, 2, 2)
    movie = np.full((5, 96, 96), 20.0)
    for time in range(5):
        movie[time, 8::16, 16 * time : 16 * time + 16] += 200
    sampler = sampler_of([*camera.expose(movie, rng)], Untouched(), holdout=0.2, frames_seen=3)
    batch = sampler.draw(16, *[torch.Generator().manual_seed(n) for n in (0, 1)])
    assert float(batch.mask.max()) == pytest.approx(LARGEST**0.5)
    assert float(sampler.held_out(0, 9).mask.max()) == 1


def _is_part(patch, image):
    """Whether an image, turned somehow, has these pixels."""
    wanted = np.sort(np.rint(patch), axis=None)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 4, mode="reflect"), patch.shape)
    sums = windows.sum((-1, -2))
    places = np.argwhere(sums == wanted.sum())
    return any(np.array_equal(np.sort(windows[tuple(place)], axis=None), wanted) for place in places)


def test_from_the_zoo_the_first_result_is_that_of_a_single_frame():
    single, several = (TrainConfig(frames=frames) for frames in (1, 3))
    one, three = (build(config.network, "yx") for config in (single, several))
    for config, network in ((single, one), (several, three)):
        start = start_of(config)
        assert start.name == "zoo:start-2d"
        start.begin(network)
    x = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    for a, b in zip(one(x[:, 1:2]), three(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    three(x).denoised.square().sum().backward()
    first = next(p for p in three.parameters() if p.shape[1:2] == (3,))
    assert all(first.grad[:, near].abs().max() > 0 for near in range(3))  # neighbours are learnt from at once


def test_a_network_of_several_frames_starts_from_a_run_of_single_ones(movie, tmp_path):
    before = train([*movie], PSF, make_config(**TRAINING | {"frames": 1}), tmp_path / "single")
    config = make_config(**TRAINING | {"start": str(before.folder)})
    network = build(config.network, "yx")
    start_of(config).begin(network)
    x = torch.rand((1, 3, 32, 32))
    torch.testing.assert_close(before.network(x[:, 1:2]).denoised, network(x).denoised, rtol=1e-4, atol=1e-5)


def test_a_run_says_what_its_network_sees(run, movie):
    assert run.config.frames == 3
    assert run.network.channels == 3
    assert run.sample.shape == (3, *movie.shape[1:])
    middle = len(movie) // 2  # the first frame sees the same neighbour twice
    np.testing.assert_array_equal(run.sample, movie[middle - 1 : middle + 2])
    assert load_run(run.folder).config == run.config


def test_an_interrupted_training_goes_on_bit_for_bit(run, movie, tmp_path):
    train([movie], PSF, make_config(**TRAINING | {"steps": 4}), tmp_path / "half")
    with pytest.raises(InputError, match="was trained with `frames` 3, not 1"):
        train([*movie], PSF, make_config(**TRAINING | {"frames": 1}), tmp_path / "half", resume=True)

    def stop():
        return next(steps) >= 4

    steps = iter(range(100))
    with pytest.raises(Exception, match="interrupted at step"):
        train([movie], PSF, CONFIG, tmp_path / "stopped", stop=stop)
    again = train([movie], PSF, CONFIG, tmp_path / "stopped", resume=True)
    for key, weight in again.network.state_dict().items():
        torch.testing.assert_close(weight, run.network.state_dict()[key], rtol=0, atol=0)


def test_the_package_computes_what_torch_does_and_says_frames(package, run, movie):
    description = read_package(package)
    assert (description.frames, description.input.channels, description.input_axes) == (3, 3, "YX")
    axes = description.rdf["inputs"][0]["axes"]
    assert axes[1]["channel_names"] == ["t-1", "t", "t+1"]
    assert description.facts["schema"] == 3
    batch = ((movie[None, :3, :64, :64] - run.offset) / run.scale).astype(np.float32)
    actual = run_once(OnnxRuntime(description.weights), batch, [(1, 1), (2, 2)])
    for a, b in zip(actual, run.network(torch.from_numpy(batch)), strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), atol=1e-4)
    assert "3 frames of a movie" in zsd("inspect", package).stdout


@pytest.mark.parametrize("how", [{"precision": "int8"}, {"input": "uint16"}])
def test_other_packages_of_a_movie(run, movie, tmp_path, how, monkeypatch):
    monkeypatch.setattr("zsd_export.measure.loss.LARGEST_LOSS_DB", {"int8": 99})  # it is hardly trained
    with load_model(export(run.folder, tmp_path / "other", **how)) as model:
        made = model.predict(movie, axes="TYX")
    assert made.deconvolved.shape == (6, 192, 224)
    assert np.isfinite(made.deconvolved).all()


def test_a_copy_of_a_package_still_says_frames(package, tmp_path):
    assert read_package(convert(package, tmp_path / "copy")).frames == 3
    with pytest.raises(InputError, match="for programs that give one"):
        convert(package, tmp_path / "other", format="deepimagej")


def alone(run, movie, time):
    """What the network makes of a frame, from torch; the whole image at once."""
    near = movie[neighbours(time, 3, len(movie))]
    batch = torch.tensor((near[None] - run.offset) / run.scale, dtype=torch.float32)
    batch = torch.nn.functional.pad(batch, (32, 32, 32, 32), mode="reflect")
    with torch.inference_mode():
        return run.network(batch).denoised[0, 0, 32:-32, 32:-32].numpy() * run.scale


def test_a_prediction_goes_over_the_movie(package, run, movie):
    with load_model(package) as model:
        made = model.predict(movie, axes="TYX", corrections=None)
        assert made.denoised.shape == movie.shape
        inside = (slice(16, -16), slice(16, -16))  # at the rim zsd continues images by less
        for time in (0, 3, 5):
            expected = alone(run, movie, time)[inside]
            np.testing.assert_allclose(made.denoised[time][inside], expected, atol=1e-3 * run.scale)
        turned = model.predict(movie.transpose(0, 2, 1), axes="TYX", corrections=None, average=8)
        np.testing.assert_allclose(
            turned.denoised.transpose(0, 2, 1), model.predict(movie, axes="TYX", corrections=None, average=8).denoised,
            atol=1e-3 * run.scale,
        )  # fmt: skip


def test_channels_and_volumes_of_a_movie_are_movies_of_their_own(package, movie):
    stack = np.stack([movie, movie[::-1]], axis=1)  # TZYX
    with load_model(package) as model:
        made = model.predict(stack, axes="TZYX").denoised
        np.testing.assert_array_equal(made[:, 0], model.predict(movie, axes="TYX").denoised)
        np.testing.assert_array_equal(made[:, 1], model.predict(movie[::-1].copy(), axes="TYX").denoised)
        swapped = model.predict(stack.swapaxes(0, 1), axes="CTYX").denoised
    np.testing.assert_array_equal(swapped.swapaxes(0, 1), made)


def test_hot_pixels_of_neighbours_do_not_show(package, movie):
    broken = movie.copy()
    broken[2, 40, 50] = 60000
    with load_model(package) as model:
        made, clean = (model.predict(m, axes="TYX").denoised for m in (broken, Corrected(broken)[:]))
    np.testing.assert_array_equal(made, clean)


def test_every_door_of_the_command_line_gives_the_same(package, movie, tmp_path):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, movie, metadata={"axes": "TYX"}, imagej=True)
    with load_model(package) as model:
        expected = model.predict(movie, axes="TYX", tile=(80, 80)).denoised

    def predicted(out, *options):
        done = zsd("predict", package, path, "--out", out, "--tile", "80x80", *options)
        assert done.returncode == 0, done.stderr
        return out

    np.testing.assert_array_equal(tifffile.imread(predicted(tmp_path / "whole") / "movie_denoised.tif"), expected)
    zarr = pytest.importorskip("zarr")
    for part in ("1/3", "2/3", "3/3"):
        predicted(tmp_path / "parts", "--part", part, "--format", "zarr")
    np.testing.assert_array_equal(zarr.open(tmp_path / "parts" / "movie_denoised.zarr")["0"][:], expected)


REFUSED = [
    ((6, 96, 112), None, "does not say which axis is time"),
    ((6, 96, 112), "ZYX", "restores movies, TYX, 3 frames at once"),
    ((96, 112), "YX", "restores movies"),
    ((2, 96, 112), "TYX", "has 2 frames along T"),
    ((6, 96, 112), "TCYX", "has axes TCYX"),
]


@pytest.mark.parametrize(("shape", "axes", "message"), REFUSED)
def test_what_is_no_movie_is_refused(package, shape, axes, message):
    with load_model(package) as model, pytest.raises(InputError, match=message):
        model.predict(np.random.default_rng(0).integers(90, 200, shape).astype(np.uint16), axes=axes)


def test_a_blank_frame_is_refused(package, movie, tmp_path):
    gap = movie.copy()
    gap[3] = 0
    with load_model(package) as model, pytest.raises(InputError, match="frame 3 of the movie is blank"):
        model.predict(gap, axes="TYX")
    with pytest.raises(InputError, match="image 4 is blank: left out, but with `frames` 3"):
        train([gap], PSF, CONFIG, tmp_path / "gap")


def test_doors_that_have_single_frames_refuse(package, run, movie, tmp_path):
    with load_model(package) as model:
        with pytest.raises(InputError, match="a stream has images one by one"):
            next(model.stream(iter(movie)))
        with pytest.raises(InputError, match="camera has images one by one"):
            Models(model)
    with pytest.raises(InputError, match="no uncertainty: it sees 3 frames"):
        load_model(package, uncertainty=2)
    with pytest.raises(InputError, match="a report has images one by one"):
        judge(package, movie[0])
    with pytest.raises(InputError, match="students see one"):
        compress(run.folder, tmp_path / "student", width=2)
    for program in ("deepimagej", "triton"):
        with pytest.raises(InputError, match="for programs that give one"):
            export(run.folder, tmp_path / program, format=program)
    tifffile.imwrite(tmp_path / "plane.tif", movie[0])
    for verb in (
        ["bench", package, "--size", "96x96"],
        ["compare", tmp_path / "plane.tif", "--truth", tmp_path / "plane.tif", "--out", tmp_path, "--methods", package],
    ):
        done = zsd(*verb)
        assert (done.returncode, "frames" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("frames", [2, 9, 0])
def test_a_number_without_a_middle_is_refused(frames):
    with pytest.raises(InputError, match="frames"):
        make_config(frames=frames)


def test_the_range_of_alpha_is_that_of_movies_unless_it_is_chosen():
    chosen = make_config(frames=3, alpha=(0.4, 0.5))
    cases = ((make_config(frames=3), MOVIE_ALPHA), (make_config(frames=3).for_axes("zyx"), MOVIE_ALPHA),
             (chosen, (0.4, 0.5)), (make_config(), (0.5, 1.5)))  # fmt: skip
    for config, alpha in cases:
        assert isinstance(config.scheme, Recorrupt)
        assert config.scheme.alpha == alpha


@pytest.mark.parametrize("scheme", ["blind-spot", "noise2void", "odd-even", "sim", "distill"])
def test_other_schemes_are_refused(scheme):
    with pytest.raises(InputError, match=f"frames 3 is for scheme recorrupt, and the scheme is {scheme}"):
        make_config(frames=3, scheme=scheme)


def test_images_that_are_no_movies_are_not_trained_on(movie, tmp_path):
    for images, message in (
        ([movie[0]], "is no movie"),
        ([movie[:2]], "has 2 frames along T"),
        ([movie[[0, 1, 1, 2]]], "frames 1 and 2 of the image are the same"),
    ):
        with pytest.raises(InputError, match=message):
            train(images, PSF, CONFIG, tmp_path / "run")
    tifffile.imwrite(tmp_path / "stack.tif", movie, metadata={"axes": "ZYX"}, imagej=True)
    options = ("--psf-sigma", 1.1, "--out", tmp_path / "run", "--frames", 3, "--axes", "CYX", "--channels", 0)
    done = zsd("train", tmp_path / "stack.tif", *options)
    assert (done.returncode, "no T: it is no movie" in done.stderr) == (2, True), done.stderr


def test_a_copy_of_a_frame_among_its_neighbours_is_refused(movie):
    later = movie[[0, 1, 2, 3, 1, 4]]
    frames_of([later], 3, 2)
    later = movie[[0, 1, 2, 1, 3, 4]]
    frames_of([later], 3, 2)
    with pytest.raises(InputError, match="frames 1 and 3 of the image are the same"):
        frames_of([later], 5, 2)


@pytest.mark.parametrize(("slices", "blank"), [(5, False), (6, True)])
def test_a_volume_is_blank_if_all_its_slices_are(slices, blank):
    """Of its own channel: half of each of two channels is no volume."""
    half = [(1, channel, z) for channel in range(2) for z in range(3 * channel, 3 * channel + 3)]
    whole = [(2, 0, z) for z in range(slices)]
    movie = SimpleNamespace(blank=half + whole, shape=(3, 2, 6, 32, 32))
    with pytest.raises(InputError, match="frame 2 of the movie is blank") if blank else nullcontext():
        check_none_blank(movie, 0, 3)


@pytest.mark.parametrize("scheme", ["recorrupt", Recorrupt()])
def test_movies_have_a_range_of_alpha_of_their_own(scheme):
    assert make_config(frames=3, scheme=scheme).scheme.model_dump()["alpha"] == MOVIE_ALPHA
    chosen = Recorrupt(alpha=(0.5, 1.5))
    assert make_config(frames=3, scheme=chosen).scheme == chosen


def test_from_a_file_to_restored_frames(movie, tmp_path):
    tifffile.imwrite(tmp_path / "movie.tif", movie, metadata={"axes": "TYX"}, imagej=True)
    (tmp_path / "small.toml").write_text("patch = 32\nnetwork = {width = 4, depth = 2, head = 8}\n")
    options = (
        "--psf-sigma",
        1.1,
        "--pixel-size",
        0.1,
        "--steps",
        2,
        "--frames",
        3,
        "--config",
        tmp_path / "small.toml",
    )
    done = zsd("restore", tmp_path / "movie.tif", "--out", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert tifffile.imread(tmp_path / "out" / "movie_deconvolved.tif").shape == (6, 192, 224)
    assert load_run(tmp_path / "out" / "run").network.channels == 3


def test_volumes_in_time(tmp_path):
    rng, camera = np.random.default_rng(0), Camera(100, 2, 2)
    clean = simulate((4, 48, 48), photons=30, camera=camera, seed=0).clean - 100.0
    movie = np.stack([camera.expose(np.roll(clean, t, -1), rng) for t in range(3)])
    config = TrainConfig(
        axes="zyx", frames=3, network=TINY, patch=32, slices=2, batch=2, steps=2, device="cpu", precision="fp32"
    )
    run = train([movie], gaussian_psf(0.6, 1.5), config, tmp_path / "run")
    middle = len(movie) // 2  # the first frame sees the same neighbour twice
    np.testing.assert_array_equal(run.sample, movie[middle - 1 : middle + 2])
    batch = ((run.sample - run.offset) / run.scale).astype(np.float32)
    assert [output.shape for output in parity(run.network, to_onnx(run.network), batch)] == [
        (1, 1, 4, 48, 48), (1, 1, 4, 96, 96),
    ]  # fmt: skip
