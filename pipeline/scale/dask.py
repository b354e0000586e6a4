"""Run jobs on a Dask cluster if params.yaml asks for one; results do not depend on it.

Workers write results as Parquet shards; results are returned in the order of the jobs. If a worker
dies, Dask gives its jobs to another worker. A shard that is written twice is the same as one
written once.
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

from pipeline.core.errors import PipelineError, not_installed
from pipeline.core.params import Compute
from pipeline.dataset.paths import cache_folder
from pipeline.scale import shards

if TYPE_CHECKING:
    from distributed import Client

Out = TypeVar("Out")

AHEAD = 2  # jobs submitted per worker thread, so that none is idle
PATIENCE_S = 60  # between checks on the workers; batch systems start them slowly
# packages whose version may change the last bits of a result
_DECISIVE = ("numpy", "pillow", "imagehash", "pyarrow", "scipy")


@dataclass(frozen=True)
class Cluster:
    """A Dask client, and the storage through which its workers exchange shards."""

    client: Client
    storage: str | None = None  # a URL; None: the project's folder, which the workers share

    @property
    def threads(self) -> int:
        """The number of jobs that run at the same time."""
        return max(1, sum(self.client.nthreads().values()))

    def url(self, dataset: str, kind: str) -> str:
        """Return the URL of the shards of a kind, such as "samples" or "hashes"."""
        if self.storage is None:
            return str(cache_folder(dataset).absolute() / kind)
        return f"{self.storage}/{dataset}/{kind}"

    @contextmanager
    def scratch(self, dataset: str, kind: str) -> Iterator[str]:
        """Yield a URL for temporary shards.

        They are removed after the block; those that a killed run left are removed before it.
        """
        url = self.url(dataset, kind)
        shards.clear(url)
        try:
            yield url
        finally:
            shards.clear(url)

    def map_jobs(
        self, function: Callable[..., Out], jobs: Iterable[tuple[Any, ...]]
    ) -> Iterator[Out]:
        """Call `function` on the workers with each job's arguments; yield results in job order.

        Only a few jobs and results are in memory at a time. A job whose worker dies runs again.
        Raises what the function raises, and PipelineError if a job kills its workers, if no worker
        is left, or if a worker does not find a file.
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
        """Return the result of one future. Raises as `map_jobs` does."""
        from distributed import KilledWorker

        while True:
            try:
                return future.result(timeout=PATIENCE_S)
            except TimeoutError as error:
                if future.done():
                    raise  # the job itself raised it
                if not self.client.nthreads():
                    raise PipelineError(
                        "the cluster has no worker left; start workers again"
                    ) from error
            except KilledWorker as error:
                count = error.allowed_failures + 1
                raise PipelineError(
                    f"a job killed {count} workers, most often because memory ran out; give the "
                    "workers more memory"
                ) from error
            except CancelledError as error:
                raise PipelineError(f"the cluster cancelled a job: {error}") from error
            except FileNotFoundError as error:
                raise PipelineError(
                    f"{error.filename}: file not found on a worker; workers on other machines need "
                    "the project's folder under the same path"
                ) from error


@contextmanager
def workers(compute: Compute) -> Iterator[Cluster | None]:
    """Yield the cluster that params ask for; None if work stays in this process.

    Raises PipelineError if Dask is not installed, if the scheduler or a worker does not answer, if
    a worker's versions differ from this machine's, or if the storage cannot be written.
    """
    if compute.kind == "local":
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise not_installed("distributed (for compute.kind dask)", "scale") from error
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
                raise PipelineError(
                    f"params.yaml: compute.scheduler: {compute.scheduler}: {error}; start a "
                    "scheduler and workers, or correct the address"
                ) from error
        _check_versions(client)
        yield Cluster(client, compute.storage)


@contextmanager
def local_cluster(count: int) -> Iterator[Client]:
    """Yield a client of `count` worker processes that run on this machine during the block."""
    import dask
    from distributed import Client, LocalCluster

    with (
        # By default, a worker that dies twice within 15 s is not started again.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        # One thread per process, because Python code holds the GIL.
        LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0") as own,
        Client(own) as client,
    ):
        yield client


def _check_versions(client: Client) -> None:
    here = versions()
    try:
        there = client.run(versions)
    except ImportError as error:
        raise PipelineError(
            f"a worker cannot import kalai: {error}; install kalai for the workers"
        ) from error
    for worker, found in there.items():
        for name, its in found.items():
            if its != here[name]:
                raise PipelineError(
                    f"worker {worker} has {name} {its}, but this machine has {here[name]}, so "
                    "results could differ; start the workers with the same versions"
                )


def versions() -> dict[str, str]:
    """Return the versions of all that may change results: Python, packages and kalai's code."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in _DECISIVE},
        "kalai's code": _CODE,
    }


def _code() -> str:
    """Return a short hash of all modules of kalai."""
    code = hashlib.sha256()
    package = Path(__file__).parent.parent
    for module in sorted(package.rglob("*.py")):
        code.update(f"{module.relative_to(package).as_posix()}\0".encode())
        code.update(module.read_bytes())
    return code.hexdigest()[:12]


_CODE = _code()  # read at import, as a running worker does not see a later edit
