"""Noisy scenes with a known truth, and what cameras and programs do to them."""

import numpy as np
import scipy.ndimage as ndi

GAIN, OFFSET, READ_NOISE = 2.0, 100.0, 2.0


def scene(shape=(128, 128), seed=0, photons=60.0, sigma=1.3):
    """Points and lines, blurred by a Gaussian of σ pixels; photo-electrons, at most `photons`."""
    rng = np.random.default_rng(seed)
    clean = np.zeros(shape)
    places = tuple(rng.integers(0, n, int(np.prod(shape) // 400)) for n in shape)
    clean[places] = rng.uniform(0.3, 1, len(places[0]))
    for _ in range(6):
        y, x, angle = rng.uniform(0, shape[-2]), rng.uniform(0, shape[-1]), rng.uniform(0, np.pi)
        along = np.arange(-shape[-1], shape[-1])
        line = np.stack([y + along * np.sin(angle), x + along * np.cos(angle)]).astype(int)
        rows, columns = line[:, ((line >= 0) & (line < np.array(shape[-2:])[:, None])).all(axis=0)]
        clean[(shape[0] // 2, rows, columns) if len(shape) == 3 else (rows, columns)] = 0.5
    clean = ndi.gaussian_filter(clean, sigma)
    return clean / clean.max() * photons


def camera(clean, seed=0, gain=GAIN, offset=OFFSET, read_noise=READ_NOISE):
    """Counts (uint16) of a camera."""
    rng = np.random.default_rng(1000 + seed)
    counts = rng.poisson(clean) * gain + offset + rng.normal(0, read_noise, clean.shape)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def hot(image, share, low, high, seed=0):
    """The image with a share of hot pixels, `low` to `high` counts too bright, and where they are."""
    rng = np.random.default_rng(seed)
    where = rng.random(image.shape) < share
    counts = image + where * rng.uniform(low, high, image.shape)
    return np.clip(np.rint(counts), 0, 65535).astype(image.dtype), where
