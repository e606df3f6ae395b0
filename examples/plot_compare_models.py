"""
Two networks compared
=====================

Cross-validate both networks and tabulate their accuracy, training time and size.
"""

# %%
# 1,000 images of the sample, so that this runs in seconds. Both networks get three
# epochs and a learning rate that suits them: without batch normalisation, mini-VGG
# does not bear LeNet-5's.
import matplotlib.pyplot as plt
from sklearn.model_selection import cross_validate

from fmnist_sklearn import (
    LeNet5Classifier,
    MiniVGGClassifier,
    TrainingCurvesDisplay,
    benchmark_scoring,
    benchmark_table,
    load_fashion_mnist_sample,
)

X, y = load_fashion_mnist_sample(return_X_y=True)
X, y = X[:1000], y[:1000]

settings = {"max_epochs": 3, "lr_schedule": "one_cycle", "random_state": 0}
models = {
    "LeNet-5": LeNet5Classifier(lr=0.01, batch_size=32, **settings),
    "mini-VGG": MiniVGGClassifier(lr=0.002, batch_size=32, **settings),
}

# %%
# ``benchmark_scoring`` has scorers for accuracy, training time, epochs and number of
# parameters; ``cross_validate`` takes them like any others. ``return_estimator`` keeps
# the networks for the figure below.
results = {
    name: cross_validate(
        model, X, y, cv=2, scoring=benchmark_scoring(), return_estimator=True
    )
    for name, model in models.items()
}

# %%
# The table takes a name and a result for each row, of any estimator. Spreads are over
# the two splits.
benchmark_table(results)

# %%
# The training curves of each model's first split. The validation part here is the
# one that the estimator itself set aside from its training rows.
first = {name: result["estimator"][0] for name, result in results.items()}
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
TrainingCurvesDisplay.from_estimators(first, ax=axes[0])
TrainingCurvesDisplay.from_estimators(first, metric="valid_acc", ax=axes[1])
plt.show()

# %%
# On so few images and epochs the networks are far from what they can do. On the full
# data, run ``fmnist-sklearn benchmark``.
