"""The first stage of a trained network, mixed with the one that its training started from."""

from collections.abc import Callable

import torch
from torch import Tensor

from zsd_train.state import State, standard_error

SHARE = 0.75  # of what the weights learnt


@torch.no_grad()
def mix_with_start(state: State, validate: Callable[[dict[str, Tensor]], Tensor]) -> None:
    """Draw the first stage's best weights back towards the start, if the held-out error allows it.

    The mean of the weights before and after a fine-tuning is often better than both: each has errors of its own
    (Wortsman et al., CVPR 2022). The start has learnt from many images and from their truth, a training from one image
    and its noise; where the noise is not quite what the noise model says, it learns some of that, too. All that was
    learnt is kept if the held-out error of the mixed weights is worse by more than a standard error.

    Parameters
    ----------
    state : State
        Its `best` and `learnt_share` change.
    validate : callable
        Gives weights' held-out error, one number a tile.
    """
    if not state.begun or state.learnt_share < 1:
        return
    mixed = state.best | {name: torch.lerp(begun, state.best[name], SHARE) for name, begun in state.begun.items()}
    difference = validate(mixed) - validate(state.best)
    if difference.mean() <= standard_error(difference):  # never without held-out tiles: the mean is NaN
        state.best, state.learnt_share = mixed, SHARE
