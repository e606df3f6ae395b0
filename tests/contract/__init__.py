"""What scikit-learn, skorch and the libraries around them ask of any estimator."""

import numpy as np

from fmnist_sklearn import CLASS_NAMES

NAMES = np.array(CLASS_NAMES)  # NAMES[y] are labels that are strings
