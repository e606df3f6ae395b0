"""How these pages look: colours, the order of the gallery, the start page's figure."""

import matplotlib as mpl

from fmnist_sklearn.displays.style import ROW_COLORS, WRONG

STYLE = {
    "axes.prop_cycle": mpl.cycler(color=ROW_COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
}

# First what one needs first. Examples that are not named come after these, by name.
READING_ORDER = (
    "plot_quick_start.py",
    "plot_compare_models.py",
    "plot_grid_search.py",
    "plot_own_network.py",
    "plot_torchvision_network.py",
    "plot_confidence.py",
)


def reading_order(filename):
    """Return the place of an example in the gallery, to sort by."""
    name = str(filename)
    known = READING_ORDER.index(name) if name in READING_ORDER else len(READING_ORDER)
    return known, name


def set_style(gallery_conf, filename):
    """Set matplotlib up for an example of the gallery."""
    mpl.rcParams.update(STYLE)


def draw_predictions():
    """Draw test images with what a network takes them for; mistakes are in red.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    from fmnist_sklearn import (
        CLASS_NAMES,
        LeNet5Classifier,
        load_fashion_mnist_sample,
    )

    X, y = load_fashion_mnist_sample(return_X_y=True)
    X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)
    clf = LeNet5Classifier(
        lr=0.01, max_epochs=8, lr_schedule="one_cycle", random_state=0
    ).fit(X, y)
    fig, axes = plt.subplots(2, 6, figsize=(7.5, 3.4), layout="constrained")
    shown = range(axes.size)
    probabilities = clf.predict_proba(X_test[shown])
    for ax, image, true, row in zip(
        axes.flat, X_test[shown], y_test[shown], probabilities, strict=True
    ):
        answer = row.argmax()
        ax.imshow(image.reshape(28, 28), cmap="gray_r")
        ax.set_title(
            f"{CLASS_NAMES[answer]}\n{row[answer]:.0%}",
            color=ROW_COLORS[0] if answer == true else WRONG,
        )
        ax.set_axis_off()
    return fig
