"""Work on several threads: order, errors, bounds and interrupts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.parallel import AHEAD, cores, in_order


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 8))
def test_results_come_in_order_whatever_takes_long(milliseconds: list[int], threads: int) -> None:
    def work(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 1000)
        return item[0]

    assert list(in_order(work, enumerate(milliseconds), threads)) == list(range(len(milliseconds)))


def test_several_threads_work_at_once() -> None:
    meeting = threading.Barrier(3, timeout=10)
    assert sorted(in_order(lambda _: meeting.wait(), range(3), 3)) == [0, 1, 2]
    assert cores() >= 1


def test_the_first_item_that_fails_is_the_one_that_is_named() -> None:
    def work(item: int) -> int:
        if item == 5:
            time.sleep(0.02)
        if item >= 5:
            raise ValueError(item)
        return item

    found: list[int] = []
    with pytest.raises(ValueError, match=r"^5$"):
        found.extend(in_order(work, range(100), 4))
    results = in_order(work, range(100), 4)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_no_more_is_taken_than_the_bound(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    for done, result in enumerate(in_order(abs, items(), threads)):
        assert result == done
        assert len(taken) - done <= AHEAD * threads


def test_what_is_not_wanted_any_more_is_not_begun() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.01)

    before = threading.active_count()
    for _ in in_order(work, range(1000), 2):
        break
    assert threading.active_count() == before
    assert len(begun) <= 2 + AHEAD * 2


def test_whoever_else_drops_it_waits_for_nothing() -> None:
    """As a thread does that collects garbage while it holds a lock that ending threads takes."""
    released = threading.Event()
    results = in_order(lambda item: item == 0 or released.wait(30), range(20), 2)
    assert next(results)
    kept = [results]
    del results
    dropping = threading.Thread(target=kept.clear)
    dropping.start()
    dropping.join(10)
    waited = dropping.is_alive()
    released.set()
    dropping.join()
    assert not waited


@pytest.mark.skipif(sys.platform == "win32", reason="an interrupt is sent otherwise there")
def test_an_interrupt_ends_it() -> None:
    script = (
        "import signal, time; from edge_adapt.runtime.parallel import in_order\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a job in the background ignores
        "for _ in in_order(lambda _: time.sleep(0.02), range(10**6), 3): print('running', flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=30)
    assert process.returncode != 0 and messages.rstrip().endswith("KeyboardInterrupt")
