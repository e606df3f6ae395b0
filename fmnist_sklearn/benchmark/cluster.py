"""Where the fits of a search run: on a Dask cluster, or on workers started here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import joblib
from joblib.parallel import ParallelBackendBase

from .._version import __version__

_WAIT_S = 60  # for the first worker of a cluster


@contextmanager
def connected(
    scheduler: str | None = None, workers: int | None = None
) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine.

    Parameters
    ----------
    scheduler : str, default=None
        Address of a Dask scheduler.
    workers : int, default=None
        Number of processes to start, of one thread each.

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
    # Workers of LocalCluster run the main script again as they start, with the search
    # if there is no ``if __name__ == "__main__"``.
    command = [sys.executable, "-P", "-m", "dask", "worker", "--no-dashboard"]
    command += ["--nworkers", str(workers), "--nthreads", "1", "--memory-limit", "0"]
    # They have as many threads for PyTorch together as the machine has cores. Each
    # imports what this process can import.
    threads = str(max(joblib.cpu_count() // workers, 1))
    env = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "DASK_LOGGING__DISTRIBUTED": "critical",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
        # In a session of its own, Ctrl-C does not reach it. It replaces dead workers.
        subprocess.Popen(
            [*command, cluster.scheduler_address], env=env, start_new_session=True
        ) as process,
    ):
        try:
            with Client(cluster, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=_WAIT_S)
                yield client
        finally:
            process.terminate()


@contextmanager
def running_on(client: Any, data: Sequence[Any]) -> Iterator[None]:
    """Run what joblib is given in the block on a cluster: a task for each call.

    Parameters
    ----------
    client : distributed.Client or None
        None: leave joblib as it is.
    data : sequence of arrays
        Arrays that many calls take. They are sent to the cluster once, for all calls
        that take the same objects; other arguments are sent with each call. The death
        of a worker loses none of them.

    Raises
    ------
    ImportError
        If a worker lacks this package, or has another version of it.
    ConnectionError
        By ``joblib.Parallel``, if the scheduler is lost, or if a call has lost its
        worker too often.

    Examples
    --------
    >>> with running_on(client, [X, y]):  # doctest: +SKIP
    ...     scores = Parallel()(delayed(fit)(X, y, rows) for rows in folds)
    """
    if client is None:
        yield
        return
    _check_versions(client)
    with joblib.parallel_config(_Cluster(client, data), n_jobs=-1):
        yield


def _check_versions(client: Any) -> None:
    def find_version() -> str:  # nested: sent by value to workers without the package
        try:
            from fmnist_sklearn._version import __version__
        except Exception as error:
            return repr(error)
        return __version__

    found = {"the scheduler": client.run_on_scheduler(find_version)}
    found |= client.run(find_version, on_error="ignore")
    wrong = [f"{who} has {what}" for who, what in found.items() if what != __version__]
    if wrong:
        raise ImportError(
            f"The scheduler and all workers need fmnist_sklearn {__version__}, as this "
            f"process has it: {'; '.join(wrong)}"
        )


class _Cluster(ParallelBackendBase):
    """A cluster as a backend of joblib.

    joblib's own runs all calls here if the cluster has one thread, and sends arguments
    to one worker only, whose death loses them. Here they are part of the tasks, which
    the scheduler has, and can run again.
    """

    supports_retrieve_callback = True

    def __init__(self, client: Any, data: Sequence[Any]) -> None:
        import dask

        super().__init__()
        self.client = client
        limit = {"distributed.admin.large-graph-warning-threshold": "1TB"}
        with dask.config.set(limit):
            futures = [client.submit(lambda a: a, a, pure=False) for a in data]
        for future in futures:
            future.exception()  # wait: calls that wait for data run in reverse order
        self.sent = {id(a): f for a, f in zip(data, futures, strict=True)}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return more than the number of threads, for workers that come later."""
        try:
            return 32 + sum(self.client.nthreads().values())
        except OSError as error:
            raise _lost(error) from error

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Make a batch of calls a task."""

        def refer(value: Any) -> Any:
            return self.sent.get(id(value), value)

        calls = [
            (f, [refer(a) for a in args], {k: refer(a) for k, a in kwargs.items()})
            for f, args, kwargs in func.items
        ]
        future = self.client.submit(_call, calls, pure=False)
        future.add_done_callback(callback)
        return future

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the result of a task, and release it: its worker may die."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            return out.result()
        except (KilledWorker, CancelledError, CommClosedError) as error:
            raise _lost(error) from error
        except ImportError:
            _check_versions(self.client)  # of workers that came later
            raise
        finally:
            out.release()


def _lost(error: BaseException) -> ConnectionError:
    return ConnectionError(
        f"Lost the Dask scheduler, or the workers of a fit: {error} Fits that "
        "ended are kept if they have a memory: run the search again."
    )


def _call(calls: Any) -> list[Any]:
    return [f(*args, **kwargs) for f, args, kwargs in calls]
