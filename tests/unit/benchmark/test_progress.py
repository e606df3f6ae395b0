import io

from rich.console import Console
from sklearn.base import clone

from fmnist_sklearn import LeNet5Classifier
from fmnist_sklearn.benchmark.progress import RunProgress, Work


def terminal():
    return Console(
        file=io.StringIO(), force_terminal=True, force_interactive=True, width=120
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


def test_a_followed_copy_leaves_the_estimator_as_it_is():
    net = LeNet5Classifier(max_epochs=2)
    for console in (terminal(), Console(file=io.StringIO(), force_terminal=False)):
        progress = RunProgress([Work("net", n_epochs=2)], console=console)
        copied = progress.followed(net)
        assert copied is not net
        assert bool(copied.callbacks) is console.is_interactive
        assert {**copied.get_params(), "callbacks": None} == net.get_params()


def test_no_terminal_no_bar_but_a_line_a_row():
    console = Console(file=io.StringIO(), force_terminal=False)
    with RunProgress([Work("net", n_epochs=2)], console=console) as progress:
        assert progress.callback() is None
        progress.begin_work(0)
        progress.end_work("accuracy 0.9")
    assert console.file.getvalue() == "1 of 1 net: accuracy 0.9\n"
