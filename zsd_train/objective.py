"""The terms of the loss, each with the equation of the paper's principle page that it comes from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zsd_train.config import TrainConfig
from zsd_train.forward import WienerFilter
from zsd_train.schemes.scheme import Comparison


class Loss(NamedTuple):
    """The loss, and the data terms in it by output."""

    total: Tensor
    data: dict[str, Tensor]


def objective(
    compared: dict[str, Comparison],
    restored: Any,
    sharpen: WienerFilter | None,
    config: TrainConfig,
    penalty: Tensor | None = None,
    mean: Callable[[Tensor], Tensor] = lambda value: value,
) -> Loss:
    """L = µ · L_den + (1 − µ) · L_dec of eq. 4; where one output is compared, its term alone.

    Parameters
    ----------
    compared : dict of Comparison
        By output, from `Scheme.compare`.
    restored : named tuple of Tensor
        The network's outputs (N, 1, [Z,] Y, X).
    sharpen : WienerFilter or None
        For residuals that went through the PSF.
    penalty : Tensor or None
        From `Scheme.penalty`.
    mean : callable
        The mean of a number over all processes that share the batch (`Group.mean`).
    """
    data = {
        name: _data_terms(comparison, sharpen if comparison.blurred else None, mean, squared=config.loss == "mse")
        for name, comparison in compared.items()
    }
    terms = dict(data)
    if "deconvolved" in terms:
        terms["deconvolved"] = terms["deconvolved"] + regularisation(restored.deconvolved, config)
    mu = config.denoising_weight
    total = next(iter(terms.values())) if len(terms) == 1 else mu * terms["denoised"] + (1 - mu) * terms["deconvolved"]
    return Loss(total if penalty is None else total + penalty, data)


def regularisation(image: Tensor, config: TrainConfig) -> Tensor:
    """λ · R_Hessian of eq. 6, and the optional terms: positivity, total variation and L1."""
    total = config.hessian_weight * hessian(image)
    if config.positivity_weight:
        total = total + config.positivity_weight * image.clamp(max=0).square().mean()
    if config.tv_weight:
        total = total + config.tv_weight * total_variation(image)
    if config.l1_weight:
        total = total + config.l1_weight * image.abs().mean()
    return total


def tile_errors(compared: dict[str, Comparison], config: TrainConfig) -> Tensor:
    """Held-out error of each tile, (N,): µ·(denoising)² + (1 − µ)·(deconvolution)².

    The noise of the tiles was never a target, so the expectation is the true error plus a constant that does not
    depend on what was learnt.
    """
    mu = config.denoising_weight
    shares = {"denoised": mu, "deconvolved": 1 - mu} if len(compared) > 1 else dict.fromkeys(compared, 1.0)
    errors = []
    for name, (image, ((_, target), *_), mask, _) in compared.items():
        squares, pixels = residual(image, target, mask).square().flatten(1), mask.abs().flatten(1)
        errors.append(shares[name] * squares.sum(1) / pixels.sum(1))
    return torch.stack(errors).sum(0)


def _data_terms(
    comparison: Comparison, sharpen: WienerFilter | None, mean: Callable[[Tensor], Tensor], *, squared: bool
) -> Tensor:
    """The data term of eq. 5 and 6; of eq. 8 and 9, where there is a second target."""
    prediction, targets, mask, _ = comparison
    pixels = mean(mask.abs().sum())
    terms = [
        share * data_term(prediction, target, squared=squared, mask=mask, pixels=pixels, filtered=sharpen)
        for share, target in targets
    ]
    return torch.stack(terms).sum()


def data_term(
    prediction: Tensor,
    target: Tensor,
    *,
    squared: bool,
    mask: Tensor | None = None,
    pixels: Tensor | None = None,
    filtered: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Mean of the absolute or squared difference.

    `mask` (same shape) says which pixels count (`residual`): 0, 1, or more where something moves (`motion`), which then
    weighs more against the other terms, too. `pixels` is how many count, if not the sum of this mask; `filtered` is a
    linear filter of the difference.
    """
    difference = prediction - target if mask is None else residual(prediction, target, mask)
    if filtered is not None:
        difference = filtered(difference)
    error = difference.square() if squared else difference.abs()
    if mask is None:
        return error.mean()
    return error.sum() / (mask.abs().sum() if pixels is None else pixels).clamp(min=1)


def residual(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """What is wrong in each pixel, times the mask.

    Where the mask is negative, the target is a lower bound (a saturated pixel): only what the prediction lacks counts,
    as in a censored regression (Tobin, Econometrica 1958).
    """
    difference = prediction - target
    return torch.where(mask < 0, difference.clamp(max=0), difference) * mask.abs()


def hessian(image: Tensor) -> Tensor:
    """R_Hessian of eq. 6 and 9: Σ over all ordered pairs of axes of mean(second difference²); in 2D, half of that."""
    axes = range(2, image.ndim)
    pairs = [(a, b) for a in axes for b in axes if a <= b]
    terms = [(1 if a == b else 2) * image.diff(dim=a).diff(dim=b).square().mean() for a, b in pairs]
    return torch.stack(terms).sum() * (0.5 if image.ndim == 4 else 1)


def total_variation(image: Tensor) -> Tensor:
    """Σ over x, y of ½·mean(first difference²), the published code's TV term."""
    return 0.5 * (image.diff(dim=-2).square().mean() + image.diff(dim=-1).square().mean())
