import pytest
import torch

from zsd_train.threads import Threads, threads_beside


@pytest.mark.parametrize(
    ("others", "cores", "most", "expected"),
    [
        (0.0, 2, 2, 2),
        (0.3, 2, 2, 2),
        (0.7, 2, 2, 1),
        (1.9, 2, 2, 1),
        (5.0, 4, 4, 1),
        (1.0, 8, 8, 7),
        (40.0, 64, 16, 16),
    ],
)
def test_threads_leave_cores_to_others(others, cores, most, expected):
    assert threads_beside(others, cores, most) == expected


class Clock:
    """Core seconds of a machine of two cores: all, busy, ours."""

    def __init__(self):
        self.times = (0.0, 0.0, 0.0)

    def pass_(self, seconds, others, ours):
        total, busy, own = self.times
        self.times = (total + 2 * seconds, busy + seconds * (others + ours), own + seconds * ours)


def test_the_load_of_others_is_what_counts(monkeypatch):
    clock, chosen = Clock(), []
    monkeypatch.setattr(Threads, "_now", lambda self: clock.times)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with Threads() as threads:
        for others, ours in ((0.0, 2.0), (0.7, 1.3), (0.0, 1.0), (1.0, 1.0)):
            clock.pass_(1.5, others, ours)
            threads.adapt()
        clock.pass_(0.1, 2.0, 0.0)
        threads.adapt()  # too soon to say
        assert chosen == [2, 1, 2, 1]
    assert chosen[-1] == 2  # as it was before the training


@pytest.mark.parametrize("reason", ["steps", "environment"])
def test_what_somebody_chose_stays(reason, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("changed"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if reason == "environment":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    Threads(fixed=reason == "steps").adapt()
