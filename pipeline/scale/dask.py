"""Workers elsewhere: a Dask cluster where params ask for one, which changes no result.

Work goes out in jobs and comes back in their order, through Parquet shards that the workers write.
A worker may die at any time: Dask gives its jobs to another, and a shard written twice is one.
"""

from __future__ import annotations

import hashlib
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.errors import PipelineError
from pipeline.core.params import Compute
from pipeline.dataset.paths import cache_folder
from pipeline.scale import shards

if TYPE_CHECKING:
    from distributed import Client

Out = TypeVar("Out")

AHEAD = 2  # jobs sent for each worker's thread, so that none waits for the next
PATIENCE_S = 60  # between looks whether any worker is left; batch systems start them slowly
# Of another version of these the results could differ by a bit.
_DECISIVE = ("numpy", "pillow", "imagehash", "pyarrow", "scipy")


@dataclass(frozen=True)
class Cluster:
    """A Dask client, and where its workers leave shards and find them."""

    client: Client
    storage: str | None = None  # null: the project's folder, which workers share

    @property
    def threads(self) -> int:
        """Return how many jobs run at once."""
        return max(1, sum(self.client.nthreads().values()))

    def url(self, dataset: str, kind: str) -> str:
        """Return where the shards of a kind are: "samples", "hashes", ..."""
        if self.storage is None:
            return str(cache_folder(dataset).absolute() / kind)
        return f"{self.storage}/{dataset}/{kind}"

    @contextmanager
    def scratch(self, dataset: str, kind: str) -> Iterator[str]:
        """Give a URL for shards that nobody needs before the block or after it."""
        url = self.url(dataset, kind)
        shards.clear(url)
        try:
            yield url
        finally:
            shards.clear(url)

    def map_jobs(
        self, function: Callable[..., Out], jobs: Iterable[tuple[Any, ...]]
    ) -> Iterator[Out]:
        """Call `function` with each job's arguments on a worker; give results in the jobs' order.

        Holds few jobs and results at a time. A job that loses its worker runs again on another.
        Raises what the function raises, and PipelineError when workers die of a job or are gone.
        """
        ahead: deque[Any] = deque()
        most = AHEAD * self.threads
        try:
            for job in jobs:
                ahead.append(self.client.submit(function, *job, pure=False))
                if len(ahead) > most:
                    yield self.result(ahead.popleft())
            while ahead:
                yield self.result(ahead.popleft())
        finally:
            self.client.cancel(list(ahead))

    def result(self, future: Any) -> Any:
        """Wait for one future; see `map_jobs`."""
        from distributed import KilledWorker

        while True:
            try:
                return future.result(timeout=PATIENCE_S)
            except TimeoutError as error:
                if future.done():
                    raise  # the job's own
                if not self.client.nthreads():
                    raise PipelineError("the cluster has no worker left") from error
            except KilledWorker as error:
                count = error.allowed_failures + 1
                raise PipelineError(
                    f"a job killed {count} workers, most often for want of memory"
                ) from error
            except CancelledError as error:
                raise PipelineError(f"the cluster gave a job up: {error}") from error
            except FileNotFoundError as error:
                raise PipelineError(
                    f"a worker finds no {error.filename}; workers elsewhere need the project's "
                    "folder under the same path"
                ) from error


@contextmanager
def workers(compute: Compute) -> Iterator[Cluster | None]:
    """Give the cluster that params ask for, None where work stays in this process.

    Raises PipelineError when Dask is missing, the scheduler or its workers cannot be had, their
    versions are not this machine's, or the storage cannot be written.
    """
    if compute.kind == "local":
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise PipelineError(
            "params.yaml: compute.kind is dask, which is not installed: pip install 'kalai[scale]'"
        ) from error
    if compute.storage is not None:
        shards.check(compute.storage)
    with ExitStack() as stack:
        if compute.scheduler is None:
            client = stack.enter_context(local_cluster(compute.workers))
        else:
            try:
                client = stack.enter_context(Client(compute.scheduler, timeout=PATIENCE_S))
                client.wait_for_workers(1, timeout=PATIENCE_S)
            except (OSError, ValueError) as error:  # a timeout is an OSError
                raise PipelineError(f"compute.scheduler: {compute.scheduler}: {error}") from error
        _check_versions(client)
        yield Cluster(client, compute.storage)


@contextmanager
def local_cluster(count: int) -> Iterator[Client]:
    """Give a client of `count` worker processes, started on this machine for the block."""
    import dask
    from distributed import Client, LocalCluster

    with (
        # Otherwise a worker that dies twice in 15 s, on a busy machine, is given up for ever.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        # A process a worker, as Python's own code holds the GIL.
        LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0") as own,
        Client(own) as client,
    ):
        yield client


def _check_versions(client: Client) -> None:
    here = versions()
    try:
        there = client.run(versions)
    except ImportError as error:
        raise PipelineError(f"a worker cannot import kalai: {error}") from error
    for worker, found in there.items():
        for name, its in found.items():
            if its != here[name]:
                raise PipelineError(
                    f"worker {worker} has {name} {its}, this machine {here[name]}: results "
                    "could differ; start the workers again with the same"
                )


def versions() -> dict[str, str]:
    """Return what decides results: of Python, of packages and of this one's code."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in _DECISIVE},
        "kalai's code": _CODE,
    }


def _code() -> str:
    code = hashlib.sha256()
    package = Path(__file__).parent.parent
    for module in sorted(package.rglob("*.py")):
        code.update(f"{module.relative_to(package).as_posix()}\0".encode())
        code.update(module.read_bytes())
    return code.hexdigest()[:12]


_CODE = _code()  # as it was when this process began: a worker does not see a later edit
