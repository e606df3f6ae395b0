"""
Quick start
===========

Fit a LeNet-5 on images of clothing and see which articles it takes for which.
"""

# %%
# The bundled sample of Fashion-MNIST has 6,000 images to train on and 1,000 to test
# with: rows of 784 pixels, 0 to 255. They go to the estimator as they are.
import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay, classification_report

from fmnist_sklearn import (
    CLASS_NAMES,
    LeNet5Classifier,
    PredictionsDisplay,
    load_fashion_mnist_sample,
)

X, y = load_fashion_mnist_sample(return_X_y=True)
X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)

fig, axes = plt.subplots(2, 5, figsize=(8, 3.6), layout="constrained")
for label, ax in enumerate(axes.flat):
    ax.imshow(X[y == label][0].reshape(28, 28), cmap="gray_r")
    ax.set_title(CLASS_NAMES[label], fontsize="medium")
    ax.set_axis_off()

# %%
# No argument is needed; a seed makes the fit repeatable.
clf = LeNet5Classifier(random_state=0).fit(X, y)

# %%
# A tenth of the training rows was set aside to validate on, and the weights of the
# best epoch were kept.
print(f"kept epoch {clf.best_epoch_} of {clf.n_iter_}, on {clf.device_}")
print(f"{clf.n_parameters_:,} parameters, {clf.fit_time_:.1f} s of training")

# %%
# From here on everything is scikit-learn's.
y_pred = clf.predict(X_test)
print(classification_report(y_test, y_pred, target_names=CLASS_NAMES))

# %%
# Shirts are the hard ones: T-shirts, pullovers and coats look like them.
fig, ax = plt.subplots(figsize=(7, 6.5), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    y_test,
    y_pred,
    display_labels=CLASS_NAMES,
    xticks_rotation="vertical",
    cmap="Blues",
    colorbar=False,
    ax=ax,
)
plt.show()

# %%
# Its worst mistakes, those of the highest loss. Some of them a person would make too.
PredictionsDisplay.from_estimator(clf, X_test, y_test, display_labels=CLASS_NAMES)
plt.show()
