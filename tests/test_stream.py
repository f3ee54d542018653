import threading
import time

import pytest

from zsd_runtime.stream import stream


def noted(jobs, fail=None):
    """Run jobs whose stages write down what they do; `fail` is the stage that breaks at job 3."""
    read, inferred, written = [], [], []

    def stage(name, log):
        def work(*arguments):
            if name == fail and len(log) == 3:
                raise OSError(name)
            log.append(arguments)

        return work

    def fill(job, source):
        source[0] = job
        stage("read", read)(job)

    def infer(source, sink):
        stage("infer", inferred)()
        sink[0] = 10 * source[0]

    def empty(job, sink):
        stage("write", written)(job, sink[0])

    assert list(stream(jobs, fill, infer, empty, [[0], [0]], [[0], [0]])) == list(jobs)
    return written


def test_jobs_go_through_in_order():
    assert noted(range(50)) == [(n, 10 * n) for n in range(50)]
    assert noted([]) == []


@pytest.mark.parametrize("stage", ["read", "infer", "write"])
def test_an_error_of_any_stage_is_raised_and_no_thread_stays(stage):
    before = threading.active_count()
    with pytest.raises(OSError, match=stage):
        noted(range(50), fail=stage)
    assert threading.active_count() == before


def test_stages_overlap():
    """A job is read while the one before it is inferred and the one before that is written: all three meet."""
    meeting = threading.Barrier(3, timeout=60)

    def read(job, source):
        source[0] = job
        if job >= 2:
            meeting.wait()

    def infer(source, _):
        if 1 <= source[0] < 9:
            meeting.wait()

    def write(job, _):
        if job < 8:
            meeting.wait()

    list(stream(range(10), read, infer, write, [[0], [0]], [[0], [0]]))
    assert not meeting.broken


def test_no_more_jobs_are_under_way_than_buffers():
    under_way, most = 0, 0
    lock = threading.Lock()

    def count(by):
        nonlocal under_way, most
        with lock:
            under_way += by
            most = max(most, under_way)

    def write(*_):
        time.sleep(0.003)
        count(-1)

    list(stream(range(40), lambda *_: count(1), lambda *_: None, write, [0, 1], [0, 1]))
    assert most <= 4
