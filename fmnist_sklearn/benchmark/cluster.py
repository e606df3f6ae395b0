"""Where the fits of a search run, and how they report back to the searching process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import joblib

_WAIT_S = 60  # for the first worker of a cluster
_POLL_S = 0.2  # between two looks for reports

Report = Mapping[str, Any]  # of values that JSON has
Send = Callable[[Report], None]


# A Dask cluster ---------------------------------------------------------------------


@contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine.

    Parameters
    ----------
    scheduler : str or None
        Address of a Dask scheduler.
    workers : int or None
        Number of processes to start.

    Yields
    ------
    client : distributed.Client or None
        None where neither is given.

    Raises
    ------
    ImportError
        If Dask is not installed.
    OSError
        If the scheduler or a worker of it cannot be reached.
    """
    if scheduler is None and workers is None:
        yield None
        return
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            "scheduler and workers need Dask, which is not installed: "
            'pip install "fmnist-sklearn[distributed]"'
        ) from error
    if workers is None:
        with Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=_WAIT_S)
            yield client
        return
    # Together they have as many threads as the machine has cores, like joblib's
    # workers. The variables are set for their start: later, torch may be loaded.
    n_threads = max(joblib.cpu_count() // workers, 1)
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), n_threads)
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": limits}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def running_on(client: Any, data: Sequence[Any]) -> Any:
    """Run what joblib is given in the block on a cluster.

    Parameters
    ----------
    client : distributed.Client or None
        None: leave joblib as it is.
    data : sequence of arrays
        Arrays that all tasks take. They are sent once, and to every worker, so that
        the death of one worker loses none of them.
    """
    if client is None:
        return nullcontext()
    return joblib.parallel_config("dask", client=client, scatter=list(data), n_jobs=-1)


# Reports ----------------------------------------------------------------------------


@contextmanager
def following(receive: Send, client: Any = None) -> Iterator[Send]:
    """Yield a function that fits call to report, from whatever process they run in.

    Parameters
    ----------
    receive : callable
        Is called with each report, in another thread of this process.
    client : distributed.Client, default=None
        Of the cluster; None: the fits run on this machine.
    """
    if client is not None:
        topic = f"fmnist-sklearn-search-{uuid4().hex}"
        client.subscribe_topic(topic, lambda event: receive(event[1]))
        try:
            yield partial(_send_to_scheduler, topic)
        finally:
            client.unsubscribe_topic(topic)
        return
    # Fits of an interrupted search may still write while the folder is removed.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "reports")
        path.touch()
        is_over = Event()
        reader = Thread(
            target=_read_reports, args=(path, receive, is_over), daemon=True
        )
        reader.start()
        try:
            yield partial(_send_to_file, path)
        finally:
            is_over.set()
            reader.join()


def _send_to_scheduler(topic: str, report: Report) -> None:
    from distributed import get_worker

    get_worker().log_event(topic, report)


def _send_to_file(path: Path, report: Report) -> None:
    # A line each. The file is gone when the search was interrupted.
    with suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(report) + "\n")


def _read_reports(path: Path, receive: Send, is_over: Event) -> None:
    with path.open(encoding="utf-8") as file:
        begun = ""  # a line that is not yet written to its end
        is_last = False
        while not is_last:
            is_last = is_over.wait(_POLL_S)
            *lines, begun = (begun + file.read()).split("\n")
            for line in lines:
                receive(json.loads(line))
