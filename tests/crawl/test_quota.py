"""The quota: never one image too many, and the same images with any timing."""

from __future__ import annotations

import queue
import random
import threading
import time

import pytest

from pipeline.crawl.quota import Quota


def chosen(good: list[bool], wanted: int, threads: int, chance: random.Random) -> list[int]:
    """Return which images are stored by threads whose work takes a random time."""
    quota = Quota(wanted, 0)
    waiting: queue.Queue[int | None] = queue.Queue()
    for number in range(len(good)):
        quota.enlist()
        waiting.put(number)
    for _ in range(threads):
        waiting.put(None)
    turn, stored = threading.Lock(), []

    def work() -> None:
        while True:
            with turn:
                number = waiting.get()
                if number is None or not quota.begin():
                    return
            time.sleep(chance.random() * 0.002)
            if good[number]:
                stored.append(number)
            assert len(stored) <= wanted
            quota.end(is_new=good[number])

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()
    return sorted(stored)


@pytest.mark.parametrize("seed", range(8))
def test_the_first_good_images_are_stored_with_any_number_of_threads(seed: int) -> None:
    chance = random.Random(seed)
    good = [chance.random() < 0.6 for _ in range(60)]
    wanted = chance.choice([1, 7, 20, 60])
    first = [number for number, is_good in enumerate(good) if is_good][:wanted]
    for threads in (1, 5, 24):
        assert chosen(good, wanted, threads, chance) == first


def test_stop_ends_every_wait() -> None:
    quota = Quota(1, 0)
    assert quota.begin()
    answers: list[bool] = []
    quota.enlist()
    waiters = [
        threading.Thread(target=lambda: answers.append(quota.begin())),
        threading.Thread(target=lambda: answers.append(quota.wait_until_short())),
    ]
    for waiter in waiters:
        waiter.start()
    time.sleep(0.05)
    assert answers == []
    quota.stop()
    for waiter in waiters:
        waiter.join(5)
    assert answers == [False, False]


def test_a_quota_that_is_full_from_the_start() -> None:
    quota = Quota(3, 5)
    assert quota.is_full
    assert not quota.begin()
    assert not quota.wait_until_short()
