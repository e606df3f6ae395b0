import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console
from sklearn.base import clone
from sklearn.model_selection import cross_validate

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.benchmark.progress import RunProgress, Work


def terminal(width=120):
    return Console(
        file=io.StringIO(), force_terminal=True, force_interactive=True, width=width
    )


def test_bar_shows_row_fold_epoch_loss_and_time_left():
    console = terminal()
    works = [Work("small", n_epochs=4, n_fits=2), Work("large", n_epochs=4, cost=9)]
    with RunProgress(works, console=console) as progress:
        progress.begin_work(0)
        progress.begin_fit()
        progress.begin_fit()
        progress.end_epoch(3, 0.25)
        progress._bar.refresh()
        (task,) = progress._bar.tasks
        assert task.completed == 7  # of 8 epochs in this row
        assert task.total == 8 + 36
        progress.end_work("done")
    shown = console.file.getvalue()
    for text in ("1 of 2 small, fold 2 of 2", "epoch 3/4 loss 0.250", " left"):
        assert text in shown
    assert "1 of 2 small: done" in shown


def test_epochs_saved_by_early_stopping_do_not_count_as_fast_ones(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(
        "fmnist_sklearn.benchmark.progress.time.monotonic", lambda: now[0]
    )
    works = [Work("a", n_epochs=100), Work("b", n_epochs=10)]
    with RunProgress(works, console=terminal()) as progress:
        progress.begin_work(0)
        progress.begin_fit()
        now[0] = 20.0
        progress.end_epoch(1, 1.0)
        progress.end_work("stopped early")
        (task,) = progress._bar.tasks
        assert task.completed == 100
        assert task.fields["end"] == 20.0 + 10 * 20.0


def test_fits_that_are_read_back_say_nothing_of_the_time_left():
    works = [Work("kept", n_epochs=10), Work("new", n_epochs=10)]
    with RunProgress(works, console=terminal()) as progress:
        progress.begin_work(0)
        progress.begin_fit()  # and not one epoch
        progress.end_work("as before")
        (task,) = progress._bar.tasks
        assert task.completed == 10
        assert task.fields["end"] is None


def test_callback_follows_a_fit_through_clones():
    import numpy as np

    rng = np.random.default_rng(0)
    X, y = rng.integers(256, size=(40, 64)), np.arange(40) % 2
    with RunProgress([Work("net", n_epochs=2)], console=terminal()) as progress:
        progress.begin_work(0)
        net = LeNet5Classifier(
            max_epochs=2, patience=None, callbacks=[progress.callback()]
        )
        clone(net).fit(X, y)
        (task,) = progress._bar.tasks
        assert task.completed == 2


def test_fits_are_followed_without_a_trace_in_the_estimator(X, y, quick):
    net = LeNet5Classifier(**quick)
    with RunProgress([Work("net", 2, n_fits=3)], console=terminal()) as progress:
        progress.begin_work(0)
        (task,) = progress._bar.tasks
        with progress.following():
            net.fit(X, y)
            assert task.completed == 2
            cross_validate(net, X, y, cv=2)
            assert task.completed == 6
        net.fit(X, y)
        assert task.completed == 6
    assert net.callbacks is None
    assert len(net.callbacks_) == len(LeNet5Classifier(**quick).fit(X, y).callbacks_)


def test_a_fit_in_another_thread_is_not_followed(X, y, quick):
    net = LeNet5Classifier(**quick)
    with RunProgress([Work("net", n_epochs=2)], console=terminal()) as progress:
        progress.begin_work(0)
        with progress.following(), ThreadPoolExecutor(1) as pool:
            pool.submit(net.fit, X, y).result()
        assert progress._bar.tasks[0].completed == 0


def test_without_a_bar_nothing_follows(X, y, quick):
    console = Console(file=io.StringIO(), force_terminal=False)
    progress = RunProgress([Work("net", n_epochs=2)], console=console)
    with progress, progress.following():
        LeNet5Classifier(**quick).fit(X, y)
    assert console.file.getvalue() == ""


def test_no_terminal_no_bar_but_a_line_a_row():
    console = Console(file=io.StringIO(), force_terminal=False)
    with RunProgress([Work("net", n_epochs=2)], console=console) as progress:
        assert progress.callback() is None
        progress.begin_work(0)
        progress.end_work("accuracy 0.9")
    assert console.file.getvalue() == "1 of 1 net: accuracy 0.9\n"


@pytest.mark.parametrize("width", [40, 60, 80, 99, 100])
def test_a_narrow_terminal_loses_nothing(width):
    work = Work("MiniVGG (lr=0.001, batch_size=128)", n_epochs=150, n_fits=5)
    with RunProgress([work] * 8, console=terminal(width)) as progress:
        progress.begin_work(3)
        progress.begin_fit()
        progress.end_epoch(113, 0.25)
        plain = Console(file=io.StringIO(), width=width, color_system=None)
        plain.print(progress._bar.get_renderable())
    shown = plain.file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    expected = "4 of 8 MiniVGG (lr=0.001, batch_size=128), fold 1 of 5"
    expected += " epoch 113/150 loss 0.250 left"
    assert set(expected.split()) <= set(shown.split())


@pytest.mark.parametrize("stream", ["none", "unread", "full"])
def test_a_stderr_that_takes_nothing_does_not_cost_the_run(monkeypatch, stream):
    if stream == "none":
        monkeypatch.setattr(sys, "stderr", None)
    elif stream == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        monkeypatch.setattr(sys, "stderr", open(writer, "w", buffering=1))  # noqa: SIM115
    elif os.path.exists("/dev/full"):
        monkeypatch.setattr(sys, "stderr", open("/dev/full", "w"))  # noqa: SIM115
    with RunProgress([Work("net", n_epochs=2)]) as progress:
        assert progress.callback() is None
        progress.begin_work(0)
        progress.end_work("accuracy 0.9")
        progress.say("done")


def test_dumb_terminals_and_no_color(monkeypatch):
    from fmnist_sklearn.benchmark.progress import StderrConsole

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert RunProgress([Work("net", n_epochs=2)]).callback() is None
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert RunProgress([Work("net", n_epochs=2)]).callback() is not None
    assert StderrConsole().no_color
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert RunProgress([Work("net", n_epochs=2)]).callback() is None
