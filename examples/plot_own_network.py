"""
A network of your own
=====================

Train a small ResNet with ``ImageClassifier``, and compare it with LeNet-5.
"""

# %%
# The constructor receives the number of classes and the shape of an image, because it
# has arguments of these names. ``forward`` takes scaled images and returns logits.
import matplotlib.pyplot as plt
import torch.nn.functional as F
from torch import nn

from fmnist_sklearn import (
    ImageClassifier,
    LeNet5Classifier,
    TrainingCurvesDisplay,
    layer_table,
    load_fashion_mnist_sample,
)


class Block(nn.Module):
    """Two convolutions, and a shortcut around them."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x):
        """Halve height and width by the stride."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """Two blocks and a dense layer."""

    def __init__(self, n_classes, image_shape, width=16):
        super().__init__()
        channels, _, _ = image_shape
        self.blocks = nn.Sequential(
            Block(channels, width, 2), Block(width, 2 * width, 2)
        )
        self.out = nn.Linear(2 * width, n_classes)

    def forward(self, x):
        """Compute logits."""
        x = self.blocks(x)  # (n, 32, 7, 7)
        return self.out(x.mean((2, 3)))


# %%
# ``module__width`` is an argument of the network. All else is as for the two networks
# of this package: early stopping, schedules, labels and weights, searches.
X, y = load_fashion_mnist_sample(return_X_y=True)
X, y = X[:3000], y[:3000]
X_test, y_test = load_fashion_mnist_sample(subset="test", return_X_y=True)

settings = {"max_epochs": 5, "lr": 0.01, "lr_schedule": "one_cycle", "random_state": 0}
resnet = ImageClassifier(module=SmallResNet, module__width=16, **settings)
lenet = LeNet5Classifier(**settings)
for net in (resnet, lenet):
    net.fit(X, y)
    print(f"{net.score(X_test, y_test):.3f}, {net.n_parameters_:,} parameters")

# %%
# The curves of both, and the layers of the one that was defined above.
TrainingCurvesDisplay.from_estimator(resnet, name="SmallResNet")
plt.show()

layer_table(resnet.module_)
