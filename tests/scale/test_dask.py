"""A stage on two workers, one of which is killed, writes the same bytes as without a cluster."""

from __future__ import annotations

import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click import Command
from distributed import Client

from pipeline.collect import on_dask as collect_on_dask
from pipeline.collect import stage as collect
from pipeline.convert import stage as convert
from pipeline.core.errors import PipelineError
from pipeline.core.params import Compute
from pipeline.dataset.paths import samples_path
from pipeline.dataset.samples import writing_samples
from pipeline.dedupe import on_dask
from pipeline.dedupe import stage as dedupe
from pipeline.dedupe.hamming import U64, near_values, plan_of
from pipeline.scale import dask, shards
from pipeline.scale.dask import Cluster, local_cluster, workers
from tests.archiving import TEST, TRAIN, WRONG, pen, write_archive
from tests.conftest import ROOT
from tests.crawled import append_attempts, store_file
from tests.hashes import clustered, constant_bits, lopsided_bits, uniform
from tests.running import run
from tests.tables import drawn, image_file, picture

ProjectMaker = Callable[..., Path]

pytestmark = pytest.mark.slow  # a cluster starts, and its workers are killed and restarted


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Give the URL of an empty bucket on an S3 server on the loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem().mkdir("kalai")
        yield "s3://kalai"
    server.stop()


@pytest.fixture(scope="module")
def control(bucket: str) -> Iterator[Client]:
    """Give a client of two worker processes that can reach the bucket."""
    import dask as dask_itself

    # A job may kill one worker, not three: each restart takes seconds.
    with (
        dask_itself.config.set({"distributed.scheduler.allowed-failures": 1}),
        local_cluster(2) as client,
    ):
        yield client


def both_back(client: Client) -> None:
    """Wait until Dask has restarted the workers that a test killed."""
    deadline = time.monotonic() + 60
    while len(client.nthreads()) < 2:
        assert time.monotonic() < deadline, "a worker was not restarted"
        time.sleep(0.05)


def arm(flag: str, module: str, name: str, when: str) -> None:
    """On a worker: kill the first worker that calls a function with `when` in its arguments."""
    target = importlib.import_module(module)
    real = getattr(target, name)

    def fatal(*arguments: Any) -> Any:
        if when in str(arguments):
            try:
                Path(flag).touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    setattr(target, name, fatal)


@pytest.fixture
def killing(control: Client, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give a function that arms both workers and returns a path; the file appears as one dies."""

    def go(module: str, name: str, when: str = "") -> Path:
        both_back(control)
        flag = tmp_path_factory.mktemp("flag") / "killed"
        control.run(arm, str(flag), module, name, when)
        return flag

    return go


def written(root: Path) -> dict[str, bytes]:
    """Return the bytes of all files that a stage has written, by path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted((root / "data").rglob("*"))
        if path.is_file() and not {"crawl", "archives"}.intersection(path.parts)
    }


def address(client: Client) -> str:
    return str(client.scheduler_info()["address"])


def compute_on(root: Path, **compute: Any) -> None:
    """Change a project's params so that it computes on Dask."""
    path = root / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["compute"] = {"kind": "dask", **compute}
    path.write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")


@pytest.fixture
def twice(
    project: ProjectMaker, control: Client, killing: Callable[..., Path], tmp_path: Path
) -> Callable[..., dict[str, bytes]]:
    """Give a function that runs a stage without and with the cluster, and kills a worker."""

    def go(
        world: Callable[[Path], None],
        stage: Command,
        *arguments: str,
        kill: tuple[str, ...],
        storage: str | None = None,
        **changes: Any,
    ) -> dict[str, bytes]:
        root = project(**changes)
        world(root)
        before = written(root)
        run(stage, *arguments)
        here = written(root)
        shutil.rmtree(root / "data")
        world(root)
        for path, data in before.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        compute_on(root, scheduler=address(control), storage=storage)
        flag = killing(*kill)
        run(stage, *arguments)
        assert flag.exists(), "no worker was killed"
        there = written(root)
        assert there == here
        return there

    return go


def test_convert(twice: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def archives(root: Path) -> None:
        folder = root / "data/tamil/archives"
        more = [(f"iso/usr_19/{n:03}t01.txt", pen(100 + n)) for n in range(40)]
        write_archive(folder / "online-train.tar.gz", [*TRAIN, *WRONG, *more])
        write_archive(folder / "online-test.tar.gz", TEST)

    monkeypatch.setattr(convert, "LETTERS", 5)
    changes = {"fetch.tamil.source": "online"}
    kill = ("pipeline.convert.on_dask", "write_shard", "part-000004")
    there = twice(archives, convert.main, "tamil", kill=kill, **changes)
    assert there["data/tamil/rejected.csv"].count(b"\n") > len(WRONG)


def test_collect(twice: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def crawled(root: Path) -> None:
        for number in range(9):
            _, attempt = store_file(root, "kathak", image_file(number), rank=number, licence="by")
            append_attempts(root, attempt)
        store_file(root, "kathak", image_file(3), "copy of 3.jpg")
        store_file(root, "kathak", image_file(4)[:500], "cut.jpg")
        store_file(root, "kathak", b"<html>", "page.jpg")
        store_file(root, "kathak", image_file(11, kind="PNG"), "mine.png")

    monkeypatch.setattr(collect_on_dask, "FILES_PER_SHARD", 2)
    dances = {"kathak": {"label": "Kathak", "queries": ["kathak"]}}
    kill = ("pipeline.collect.on_dask", "write_shard", "part-000003")
    there = twice(crawled, collect.main, kill=kill, dances=dances)
    assert there["data/dances/rejected.csv"].count(b"\n") == 4


def photos(root: Path) -> None:
    """Write samples with copies, near copies and mirror images, four a row group."""
    with writing_samples(root / samples_path("dances"), row_group=4) as writer:
        for seed in range(5):
            image = drawn(seed)
            writer.add(picture(f"{seed}", image))
            writer.add(picture(f"{seed} again", image))
            writer.add(picture(f"{seed} worse", image, quality=30))
        writer.add(picture("turned", drawn(1).transpose(0)))  # type: ignore[arg-type]


WITH_MIRROR = {
    "dedupe.dances": {"method": "phash", "review_within": 12, "mirror": True},
}


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_dedupe(twice: Callable[..., Any], bucket: str, where: str) -> None:
    storage = f"{bucket}/project" if where == "s3" else None
    kill = ("pipeline.dedupe.on_dask", "write_shard", "part-000002")
    there = twice(photos, dedupe.main, "dances", kill=kill, storage=storage, **WITH_MIRROR)
    assert "data/dances/cache/phash.parquet" in there
    if storage:
        assert len(shards.shards_in(f"{storage}/dances/samples")) == 4, (
            "16 samples, 4 in each shard"
        )


def test_hashes_in_the_storage_are_not_computed_again(
    project: ProjectMaker, control: Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(**WITH_MIRROR)
    compute_on(root, scheduler=address(control), storage=f"{bucket}/other")
    photos(root)
    run(dedupe.main, "dances")
    first = written(root)
    shutil.rmtree(root / "data/dances/cache")

    def none_left(*job: Any) -> None:
        raise AssertionError(f"hashed again: {job}")

    monkeypatch.setattr(on_dask, "hash_shard", none_left)
    run(dedupe.main, "dances")
    assert written(root) == first


@pytest.mark.parametrize(
    ("spread", "within", "count"),
    [
        (uniform, 6, 8_000),
        (clustered, 6, 8_000),
        (lopsided_bits, 4, 20_000),  # fewer hashes have a plan that is not spread
        (constant_bits, 3, 8_000),
    ],
)
def test_pairs(
    spread: Callable[..., U64],
    within: int,
    count: int,
    project: ProjectMaker,
    control: Client,
    killing: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project()
    monkeypatch.setattr(on_dask, "SPREAD_FROM", 0)
    monkeypatch.setattr(on_dask, "SHARD", count // 3 + 300)
    values = np.unique(spread(np.random.default_rng(within), count))
    assert plan_of(values, within).chosen > 0, "or it would not be spread"
    flag = killing("pipeline.dedupe.on_dask", "join") if spread is clustered else None
    there = on_dask.near_values(Cluster(control), "dances", values, within)
    here = near_values(values, within)
    assert flag is None or flag.exists()
    assert here.a.size > 0 or spread is uniform
    for name in here._fields:
        ours, theirs = getattr(there, name), getattr(here, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs), name
    assert not shards.shards_in(Cluster(control).url("dances", "values"))


def test_few_or_equal_values_stay_here(control: Client) -> None:
    values = np.arange(5, dtype=np.uint64)
    nowhere = Cluster(control, "nowhere://store")
    assert on_dask.near_values(nowhere, "dances", values, 2).a.size == 9
    assert on_dask.near_values(nowhere, "dances", values[:0], 2).a.size == 0


def square_late(number: int) -> int:
    random.seed()
    return number * number


def test_results_come_in_the_order_of_jobs_and_few_are_held(control: Client) -> None:
    drawn_jobs: list[int] = []

    def jobs() -> Iterator[tuple[int]]:
        for number in range(40):
            drawn_jobs.append(number)
            yield (number,)

    ahead = []
    for place, found in enumerate(Cluster(control).map_jobs(square_late, jobs())):
        assert found == place * place
        ahead.append(len(drawn_jobs) - place)
    assert max(ahead) <= 2 * dask.AHEAD + 2


def fails(number: int) -> int:
    raise PipelineError(f"image {number} is broken")


def fatal(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def reads(path: str) -> bytes:
    return Path(path).read_bytes()


def test_failures_of_jobs_are_one_line(control: Client) -> None:
    with pytest.raises(PipelineError, match=r"^image 7 is broken$"):
        list(Cluster(control).map_jobs(fails, [(7,)]))
    with pytest.raises(
        PipelineError, match=r"^/no/such: file not found on a worker; workers on other"
    ):
        list(Cluster(control).map_jobs(reads, [("/no/such",)]))
    with pytest.raises(
        PipelineError, match=r"a job killed 2 workers, most often because memory ran out"
    ):
        list(Cluster(control).map_jobs(fatal, [(1,)]))
    both_back(control)


def test_workers_with_other_versions_are_refused(
    control: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Compute(kind="dask", scheduler=address(control))
    with workers(compute) as found:
        assert found is not None and found.threads == 2
    monkeypatch.setattr(dask, "version", lambda name: f"0.{name}")
    with (
        pytest.raises(
            PipelineError, match=r"worker tcp.* has numpy 2\..*, but this machine has 0\.numpy"
        ),
        workers(compute),
    ):
        pass


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "PATIENCE_S", 1)
    with (
        pytest.raises(PipelineError, match=r"compute.scheduler: tcp://127.0.0.1:1: .*after 1 s"),
        workers(Compute(kind="dask", scheduler="tcp://127.0.0.1:1")),
    ):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(PipelineError, match=r"is not installed; run: pip install 'kalai\[scale\]'"),
        workers(Compute(kind="dask")),
    ):
        pass


def test_a_storage_that_refuses_is_one_line(bucket: str) -> None:
    with (
        pytest.raises(PipelineError, match=r"compute.storage: s3://no-such/x: .*bucket"),
        workers(Compute(kind="dask", storage="s3://no-such/x")),
    ):
        pass


def test_a_stage_as_a_module_starts_a_local_cluster(project: ProjectMaker) -> None:
    """`python -m` runs the stage as `__main__`, which workers cannot import."""
    root = project(**{"fetch.tamil.source": "online"})
    write_archive(root / "data/tamil/archives/online-train.tar.gz", [*TRAIN, *WRONG])
    write_archive(root / "data/tamil/archives/online-test.tar.gz", TEST)
    run(convert.main, "tamil")
    here = written(root)
    compute_on(root, workers=1)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.convert", "tamil"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert written(root) == here
