import numpy as np
import pytest

from zsd_runtime import InputError
from zsd_runtime.normalize import Linear, from_description


def test_steps_follow_each_other():
    steps = [
        {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
        {"id": "scale_linear", "kwargs": {"gain": 2.0, "offset": 1.0}},
        {"id": "scale_linear", "kwargs": {"gain": [0.5], "offset": [3.0]}},
    ]
    np.testing.assert_allclose(from_description(steps, "x")(np.array([0, 10], np.uint16)), [3.5, 13.5])


def test_large_counts_keep_their_differences():
    counts = np.array([2**31, 2**31 + 3], np.uint32)
    np.testing.assert_array_equal(Linear(1.0, -(2.0**31))(counts), [0, 3])


def test_an_unknown_step_is_named():
    with pytest.raises(InputError, match="'zero_mean_unit_variance'"):
        from_description([{"id": "zero_mean_unit_variance"}], "the input")
