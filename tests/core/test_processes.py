"""Maps over threads and processes keep the order, stay a few items ahead, and pass errors on."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.processes import batched, map_processes, map_threads


def test_threads_keep_the_order_and_stay_few_items_ahead() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001 * (number % 3))
        with lock:
            running -= 1
        return number

    taken = 0

    def items() -> Any:
        nonlocal taken
        for number in range(200):
            taken = number
            yield number

    for number in map_threads(work, items(), 4):
        assert taken - number <= 4 * 4 + 1
    assert number == 199
    assert 1 < most <= 4

    def fail(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    with pytest.raises(ValueError, match="five"):
        list(map_threads(fail, range(100), 4))


def numbered(number: int) -> tuple[int, int]:
    return number, os.getpid()


def fall(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    raise Rejected("truncated", f"at {number}")


def test_processes_keep_the_order() -> None:
    results = list(map_processes(numbered, range(40), 2))
    assert [number for number, _ in results] == list(range(40))
    pids = {pid for _, pid in results}
    assert 1 <= len(pids) <= 2 and os.getpid() not in pids


def test_a_dead_worker_and_an_exception_in_a_worker_are_raised_here() -> None:
    with pytest.raises(
        PipelineError, match="a worker process died, most often because memory ran out"
    ):
        list(map_processes(fall, range(10), 2))
    with pytest.raises(Rejected) as verdict:
        list(map_processes(refuse, range(10), 2))
    assert (verdict.value.reason, verdict.value.detail) == ("truncated", "at 0")
    assert str(verdict.value) == "truncated: at 0"


def test_batches_hold_every_item_once() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert not list(batched([], 2))
