"""
How sure a network is
=====================

Calibrate the probabilities, choose below which one the network had better not answer,
and see what it makes of pictures that show no clothing.
"""

# %%
# A thousand of the training images are kept back: what a network says of images that it
# was trained on is no measure of how sure it can be of others.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from fmnist_sklearn import CLASS_NAMES, LeNet5Classifier, load_fashion_mnist_sample

names = np.array(CLASS_NAMES)
X, y = load_fashion_mnist_sample(return_X_y=True)
X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)
X_fit, X_kept, y_fit, y_kept = train_test_split(
    X, names[y], test_size=1000, stratify=y, random_state=0
)
y_test = names[y_test]

clf = LeNet5Classifier(lr=0.01, max_epochs=8, lr_schedule="one_cycle", random_state=0)
clf.fit(X_fit, y_fit)

# %%
# Calibration
# -----------
# Of the images that a calibrated network is 80 % sure of, it names 80 % rightly. One
# number is enough to bring that about, by which all logits are multiplied (the inverse
# of a "temperature", from scikit-learn 1.8 on). It changes no label.
calibrated = CalibratedClassifierCV(FrozenEstimator(clf), method="temperature")
calibrated.fit(X_kept, y_kept)
factor = float(calibrated.calibrated_classifiers_[0].calibrators[0].beta_)
print(f"logits are multiplied by {factor:.2f}")

fig, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for name, model in {"network": clf, "calibrated": calibrated}.items():
    probabilities = model.predict_proba(X_test)
    confidence = probabilities.max(axis=1)
    is_right = model.predict(X_test) == y_test
    print(
        f"{name}: log loss {log_loss(y_test, probabilities):.3f}, mean confidence "
        f"{confidence.mean():.3f}, accuracy {is_right.mean():.3f}"
    )
    CalibrationDisplay.from_predictions(
        is_right, confidence, n_bins=8, strategy="quantile", name=name, ax=ax
    )
ax.set(xlabel="confidence", ylabel="accuracy")
plt.show()

# %%
# The factor fits into the last layer. Then the network itself is calibrated, in every
# file that it is saved or exported to. (``calibrated`` would now apply it twice.)
before = calibrated.predict_proba(X_test)
with torch.no_grad():
    for parameter in clf.module_.head.out.parameters():
        parameter.mul_(factor)
print(f"largest difference: {np.abs(clf.predict_proba(X_test) - before).max():.0e}")

# %%
# A threshold
# -----------
# Where a wrong label costs more than none, the network answers only if it is sure
# enough. The lower the threshold, the more images are answered, and the more of them
# wrongly. The images that were kept back tell from where on 95 % of the answers are
# right.
confidence = clf.predict_proba(X_kept).max(axis=1)
order = np.argsort(-confidence)
is_right = (clf.predict(X_kept) == y_kept)[order]
accuracy = is_right.cumsum() / np.arange(1, len(order) + 1)
threshold = confidence[order][np.flatnonzero(accuracy >= 0.95).max()]

is_sure = clf.predict_proba(X_test).max(axis=1) >= threshold
is_right = clf.predict(X_test) == y_test
print(
    f"threshold {threshold:.2f}: {is_sure.mean():.0%} of the test images are answered, "
    f"{is_right[is_sure].mean():.1%} of them rightly; of all, {is_right.mean():.1%}"
)

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.plot(np.linspace(0, 1, len(order)), accuracy)
ax.axhline(0.95, color="gray", linestyle="dotted")
ax.set(xlabel="share of the images answered", ylabel="accuracy of the answers")
plt.show()

# %%
# Pictures of nothing
# -------------------
# A network can only divide its probabilities among the classes that it has. Here are
# pictures of none of them: even grey, noise, stripes, handwritten digits, the pixels of
# an article in random order; and articles as a camera sees them, dark on light.
rng = np.random.default_rng(0)
n = len(X_test)


def draw_stripes(n):
    """Draw waves of random direction, width and place."""
    y, x = np.mgrid[:28, :28]
    angle, start = rng.uniform(0, 2 * np.pi, (2, n, 1, 1))
    width = rng.uniform(3, 14, (n, 1, 1))
    across = x * np.cos(angle) + y * np.sin(angle)
    return 127.5 + 127.5 * np.sin(2 * np.pi * across / width + start)


def draw_digits(n):
    """Enlarge scikit-learn's digits from 8 x 8 to 24 x 24, in a frame of black."""
    digits = load_digits().images[:n].clip(0, 15) * 17
    return np.pad(np.kron(digits, np.ones((3, 3))), ((0, 0), (2, 2), (2, 2)))


pictures = {
    "test images": X_test,
    "even grey": np.linspace(0, 255, n)[:, None, None] * np.ones((28, 28)),
    "noise": rng.integers(0, 256, (n, 28, 28)),
    "stripes": draw_stripes(n),
    "digits": draw_digits(n),
    "pixels shuffled": rng.permuted(X_test, axis=1),
    "dark on light": 255 - X_test,
}
rows = {}
for name, images in pictures.items():
    images = images.reshape(n, -1).astype(np.uint8)
    confidence = clf.predict_proba(images).max(axis=1)
    labels = pd.Series(clf.predict(images)).value_counts(normalize=True)
    rows[name] = {
        "mean confidence": f"{confidence.mean():.2f}",
        "answered": f"{(confidence >= threshold).mean():.0%}",
        "most often": f"{labels.index[0]} ({labels.iloc[0]:.0%})",
    }
print(pd.DataFrame(rows).T)

fig, axes = plt.subplots(1, len(pictures), figsize=(10, 1.9), layout="constrained")
for (name, images), ax in zip(pictures.items(), axes, strict=True):
    ax.imshow(images[n // 2].reshape(28, 28), cmap="gray", vmin=0, vmax=255)
    ax.set_title(name, fontsize="small")
    ax.set_axis_off()
plt.show()

# %%
# The threshold keeps most of them out, and not all: confidence tells the classes from
# each other, and not whether a picture belongs to any. Articles that are dark on light
# are as strange to the network as noise, whatever a person sees in them. So prepare
# pictures for prediction as those that were fitted were, and where pictures of nothing
# are to be expected, fit a class of its own on some of them.
