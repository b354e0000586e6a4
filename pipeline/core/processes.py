"""Map a function over items in threads or processes, with results in the order of the items.

Both maps run only a few items ahead of the caller, so that memory stays bounded.
"""

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

AHEAD = 4  # items per worker that may be submitted before the oldest result is taken


def map_threads(function: Callable[[In], Out], items: Iterable[In], threads: int) -> Iterator[Out]:
    """Yield results in the order of the items; meant for work that waits or releases the GIL.

    Raises what `function` raises.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from _results(pool, function, items, AHEAD * threads)


def map_processes(
    function: Callable[[In], Out], items: Iterable[In], processes: int
) -> Iterator[Out]:
    """Yield results in the order of the items; meant for work that holds the GIL.

    Worker processes end if this process ends, even if it is killed. Raises what `function` raises,
    and PipelineError if a worker dies.
    """
    with ProcessPoolExecutor(processes, initializer=_watch_parent) as pool:
        try:
            yield from _results(pool, function, items, AHEAD * processes)
        except BrokenProcessPool as error:
            raise PipelineError(
                f"a worker process died, most often because memory ran out: {error}"
            ) from error


def batched(items: Iterable[In], size: int) -> Iterator[list[In]]:
    """Yield the items as lists of `size`; the last list may be shorter."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def _results(
    pool: Executor, function: Callable[[In], Out], items: Iterable[In], max_ahead: int
) -> Iterator[Out]:
    ahead: deque[Future[Out]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > max_ahead:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent ends, because a killed parent cannot end its children."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
