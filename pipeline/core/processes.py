"""Work on this machine's processors: results come in the order of the items, few ahead of time."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from pipeline.core.errors import PipelineError

In = TypeVar("In")
Out = TypeVar("Out")

AHEAD = 4  # items taken for each worker before the oldest result is waited for


def map_threads(function: Callable[[In], Out], items: Iterable[In], threads: int) -> Iterator[Out]:
    """Map with threads: for work that releases the GIL or waits."""
    with ThreadPoolExecutor(threads) as pool:
        yield from _results(pool, function, items, AHEAD * threads)


def map_processes(
    function: Callable[[In], Out], items: Iterable[In], processes: int
) -> Iterator[Out]:
    """Map with processes: for work that holds the GIL.

    They end with the process that waits for them. Raises PipelineError when one dies.
    """
    with ProcessPoolExecutor(processes, initializer=_begin) as pool:
        try:
            yield from _results(pool, function, items, AHEAD * processes)
        except BrokenProcessPool as error:
            raise PipelineError(f"a process at work died: {error}") from error


def batched(items: Iterable[In], size: int) -> Iterator[list[In]]:
    """Give lists of `size` items, the last one shorter."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def _results(
    pool: Executor, function: Callable[[In], Out], items: Iterable[In], most: int
) -> Iterator[Out]:
    ahead: deque[Future[Out]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > most:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that waits for it was killed: nobody else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
