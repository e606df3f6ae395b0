"""Where the fits of a search run: on this machine, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import joblib

_WAIT_S = 60  # for the first worker of a cluster


@contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine.

    Parameters
    ----------
    scheduler : str or None
        Address of a Dask scheduler.
    workers : int or None
        Processes to start.

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
    if scheduler is not None:
        with Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=_WAIT_S)
            yield client
        return
    assert workers is not None
    # Together they have the threads that the machine has cores, as joblib's own have.
    # In the environment that a worker is started with: later, torch may be loaded.
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


@contextmanager
def running_on(client: Any, data: Sequence[Any]) -> Iterator[None]:
    """Let joblib run what comes on a cluster, to which the data is sent once.

    Parameters
    ----------
    client : distributed.Client or None
        None: leave joblib as it is.
    data : sequence of arrays
        What all tasks are given. Every worker gets it now, and so the death of one
        loses none of it.
    """
    if client is None:
        yield
        return
    with joblib.parallel_config("dask", client=client, scatter=list(data), n_jobs=-1):
        yield
