import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console
from sklearn.model_selection import cross_validate

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.benchmark import RunProgress, Work
from fmnist_sklearn.benchmark.progress import StderrConsole


def terminal(width=120):
    return Console(
        file=io.StringIO(), force_terminal=True, force_interactive=True, width=width
    )


def has_bar(progress):
    return not progress._bar.disable


def test_run_progress_shows_row_fold_epoch_loss_and_time_left():
    console = terminal()
    works = [Work("small", n_fits=2, weight=8), Work("large", weight=36)]
    with RunProgress(works, console=console) as progress:
        progress.begin_work(0)
        progress.begin_fit(4)
        progress.begin_fit(4)
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


def test_run_progress_follows_fits_without_a_trace_in_the_estimator(X, y, quick):
    net = LeNet5Classifier(**quick)
    with RunProgress([Work("net", n_fits=3)], console=terminal()) as progress:
        progress.begin_work(0)
        (task,) = progress._bar.tasks
        with progress.following():
            net.fit(X, y)
            assert (task.completed, task.total) == (pytest.approx(1 / 3), 1)
            cross_validate(net, X, y, cv=2)  # which clones it
            assert task.completed == 1
        with progress.following(), ThreadPoolExecutor(1) as pool:
            pool.submit(net.fit, X, y).result()  # another thread's fit
        net.fit(X, y)
        assert task.completed == 1
    assert net.callbacks is None
    assert len(net.callbacks_) == len(LeNet5Classifier(**quick).fit(X, y).callbacks_)


@pytest.mark.parametrize("width", [40, 99, 100])
def test_run_progress_shows_all_on_a_narrow_terminal(width):
    work = Work("MiniVGG (lr=0.001, batch_size=128)", n_fits=5)
    with RunProgress([work] * 8, console=terminal(width)) as progress:
        progress.begin_work(3)
        progress.begin_fit(150)
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
def test_run_progress_survives_a_broken_stderr(monkeypatch, stream):
    if stream == "none":
        monkeypatch.setattr(sys, "stderr", None)
    elif stream == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        monkeypatch.setattr(sys, "stderr", open(writer, "w", buffering=1))  # noqa: SIM115
    elif os.path.exists("/dev/full"):
        monkeypatch.setattr(sys, "stderr", open("/dev/full", "w"))  # noqa: SIM115
    with RunProgress([Work("net")]) as progress:
        assert not has_bar(progress)
        progress.begin_work(0)
        progress.end_work("accuracy 0.9")
        progress.say("done")


def test_run_progress_says_any_text_in_any_encoding():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    console = Console(file=file)
    RunProgress([Work("net")], console=console).say("caf\xe9 \x1b[2J\udce9 [bold]")
    shown = file.buffer.getvalue().decode("ascii")
    assert shown == "caf\\xe9 <U+001B>[2J<U+DCE9> [bold]\n"


def test_run_progress_and_the_environment_of_the_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not has_bar(RunProgress([Work("net")]))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert has_bar(RunProgress([Work("net")]))
    assert StderrConsole().no_color
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not has_bar(RunProgress([Work("net")]))
