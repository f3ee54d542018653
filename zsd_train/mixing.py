"""The first stage of a trained network, mixed with the one that its training started from."""

from collections.abc import Callable

import torch
from torch import Tensor

from zsd_train.state import State, standard_error

# Of what the weights learnt. With less than a half, images that the start does not know would lose what they taught.
SHARES = (0.5, 0.75)


@torch.no_grad()
def mix_with_start(state: State, validate: Callable[[dict[str, Tensor]], Tensor]) -> None:
    """Draw the first stage's best weights back towards the start, as far as the held-out error allows.

    The mean of the weights before and after a fine-tuning is often better than both: each has errors of its own
    (Wortsman et al., CVPR 2022). The start has learnt from many images and from their truth, a training from one image
    and its noise; where the noise is not quite what the noise model says, it learns some of that, too. The smallest of
    `SHARES` is taken whose held-out error is not worse by more than a standard error (as in `State.judge`).

    Parameters
    ----------
    state : State
        Its `best` and `learnt_share` change.
    validate : callable
        Gives weights' held-out error, one number a tile.
    """
    if not state.begun or state.learnt_share < 1:
        return
    learnt, errors = state.best, validate(state.best)
    for share in SHARES:
        mixed = learnt | {name: torch.lerp(begun, learnt[name], share) for name, begun in state.begun.items()}
        difference = validate(mixed) - errors
        if difference.mean() <= standard_error(difference):  # never without held-out tiles: the mean is NaN
            state.best, state.learnt_share = mixed, share
            return
