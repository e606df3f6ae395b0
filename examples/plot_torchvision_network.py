"""
A network of torchvision
========================

Give MobileNetV3 one channel and the right number of classes, and train it from scratch.
"""

# %%
# Networks of libraries have constructors of their own. A few lines around one accept
# what ``ImageClassifier`` passes. ``weights=None`` downloads nothing. The running
# means of its batch normalisation move by 1 % a step, which is too slow for a short
# training; here they move by 10 %.
from functools import partial

import matplotlib.pyplot as plt
from torch import nn
from torchvision.models import mobilenet_v3_small

from fmnist_sklearn import (
    ImageClassifier,
    PredictionsDisplay,
    load_fashion_mnist_sample,
)


class GreyMobileNet(nn.Module):
    """MobileNetV3-small for images of any number of channels."""

    def __init__(self, n_classes, image_shape):
        super().__init__()
        self.network = mobilenet_v3_small(
            weights=None,
            num_classes=n_classes,
            norm_layer=partial(nn.BatchNorm2d, momentum=0.1),
        )
        # The first convolution takes three channels; images here have one.
        channels, _, _ = image_shape
        self.network.features[0][0] = nn.Conv2d(
            channels, 16, 3, stride=2, padding=1, bias=False
        )

    def forward(self, x):
        """Compute logits."""
        return self.network(x)


# %%
# A subclass that names its module is an estimator with a name of its own.
class GreyMobileNetClassifier(ImageClassifier):
    """MobileNetV3-small as a scikit-learn classifier."""

    module = GreyMobileNet


X, y = load_fashion_mnist_sample(return_X_y=True)
X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)

clf = GreyMobileNetClassifier(
    lr=0.005, max_epochs=3, lr_schedule="one_cycle", ema_decay=None, random_state=0
)
clf.fit(X[:1500], y[:1500])
print(f"test accuracy: {clf.score(X_test, y_test):.3f}")

# %%
# Its predictions are those of a classifier like any other.
PredictionsDisplay.from_estimator(clf, X_test[:10], y_test[:10])
plt.show()
