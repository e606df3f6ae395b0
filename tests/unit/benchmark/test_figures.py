import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fmnist_sklearn.benchmark.report import benchmark_figures, save_figures

EPOCHS = [
    {"epoch": 1, "train_loss": 0.9, "valid_loss": 0.6, "valid_acc": 0.7, "dur": 1.0},
    {"epoch": 2, "train_loss": 0.6, "valid_loss": 0.4, "valid_acc": 0.8, "dur": 1.0},
    {"epoch": 3, "train_loss": 0.5, "valid_loss": 0.5, "valid_acc": 0.9, "dur": 1.0},
]
WITHOUT_VALIDATION = [{"epoch": 1, "train_loss": 0.9, "dur": 1.0}]


# benchmark_figures


@pytest.mark.parametrize(
    ("key", "title", "ylabel", "metric"),
    [
        ("train_loss", "Training loss", "cross-entropy loss", "train_loss"),
        ("valid_loss", "Validation loss", "cross-entropy loss", "valid_loss"),
        ("accuracy", "Validation accuracy", "accuracy", "valid_acc"),
    ],
)
def test_benchmark_figures(key, title, ylabel, metric):
    figures = benchmark_figures({"a": EPOCHS, "b": EPOCHS[:2]})
    assert list(figures) == ["train_loss", "valid_loss", "accuracy"]
    (ax,) = figures[key].axes
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == (
        title,
        "epoch",
        ylabel,
    )
    a, b = ax.get_lines()
    assert a.get_ydata().tolist() == [row[metric] for row in EPOCHS]
    assert b.get_xdata().tolist() == [1, 2]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]


def test_benchmark_figures_are_blue_rose_green_and_grey():
    figure = benchmark_figures({name: EPOCHS for name in "abcdef"})["accuracy"]
    colors = [to_hex(line.get_color()) for line in figure.axes[0].get_lines()]
    assert colors[:4] == ["#2563a8", "#ee7f97", "#1f7a4d", "#8c9199"]
    assert len(set(colors)) == 6
    # More rows than colours: the legend leaves the axes.
    assert figure.axes[0].get_legend() is None
    assert len(figure.legends[0].get_texts()) == 6


def test_benchmark_figures_leave_pyplot_alone():
    before = dict(matplotlib.rcParams)
    benchmark_figures({"a": EPOCHS})
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_benchmark_figures_need_curves():
    with pytest.raises(ValueError, match="curves must hold at least one row"):
        benchmark_figures({})
    with pytest.raises(ValueError, match="'valid_loss' is not recorded by 'a'"):
        benchmark_figures({"a": WITHOUT_VALIDATION})


# save_figures


def test_save_figures_writes_the_same_bytes_again(tmp_path):
    folder = tmp_path / "new" / "folder"
    paths = save_figures(benchmark_figures({"a": EPOCHS}), folder)
    assert [path.name for path in paths] == [
        "train_loss.svg",
        "train_loss.png",
        "valid_loss.svg",
        "valid_loss.png",
        "accuracy.svg",
        "accuracy.png",
    ]
    assert sorted(folder.iterdir()) == sorted(paths)
    first = [path.read_bytes() for path in paths]
    assert first[0].startswith(b"<?xml")
    assert first[1].startswith(b"\x89PNG")
    save_figures(benchmark_figures({"a": EPOCHS}), folder)
    assert [path.read_bytes() for path in paths] == first


def test_save_figures_leaves_nothing_half_written(tmp_path, monkeypatch):
    def fail(self, file, **kwargs):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figures({"a": Figure()}, tmp_path)
    assert list(tmp_path.iterdir()) == []
