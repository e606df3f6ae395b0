"""
Grid search
===========

Search over learning rate and batch size with ``GridSearchCV``, within a ``Pipeline``.
"""

# %%
# The classifier is the last step of a pipeline. It needs no scaling in front of it;
# the step here stands for any that you have, and cuts the images to their middle
# 24 x 24 pixels.
import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from fmnist_sklearn import (
    LeNet5Classifier,
    SearchHeatmapDisplay,
    benchmark_scoring,
    benchmark_table,
    load_fashion_mnist_sample,
)

X, y = load_fashion_mnist_sample(return_X_y=True)
X, y = X[:1500], y[:1500]
X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)


def crop(X):
    """Cut the middle 24 x 24 pixels out of rows of 28 x 28."""
    return X.reshape(-1, 28, 28)[:, 2:-2, 2:-2]


pipeline = Pipeline(
    [
        ("crop", FunctionTransformer(crop)),
        (
            "clf",
            LeNet5Classifier(max_epochs=4, lr_schedule="one_cycle", random_state=0),
        ),
    ]
)

# %%
# With several metrics, ``refit`` must say which one chooses.
search = GridSearchCV(
    pipeline,
    {"clf__lr": [0.003, 0.01, 0.03], "clf__batch_size": [32, 64]},
    cv=2,
    scoring=benchmark_scoring(),
    refit="accuracy",
)
search.fit(X, y)

# %%
# One row for each candidate, with a column for each hyper-parameter that varies.
benchmark_table(search).sort_values("accuracy", ascending=False).round(3)

# %%
# The same as a picture: which way the accuracy rises, and whether it still does at the
# border of the grid.
SearchHeatmapDisplay.from_search(search, x="batch_size", y="lr")
plt.show()

# %%
# The best candidate was fitted again on all the rows; what it reaches on images that
# no fit has seen:
print(search.best_params_)
print(f"test accuracy: {search.score(X_test, y_test):.3f}")
