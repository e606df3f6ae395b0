import json

import numpy as np
import torch

from fmnist_sklearn.benchmark.results import to_jsonable


def test_everything_a_record_may_hold_becomes_json():
    record = {
        "optimizer": torch.optim.Adam,
        "nan": float("nan"),
        "numpy": [np.float64(0.5), np.int64(3), np.arange(2), np.bool_(True)],
        "tuple": (128, 64),
        "device": torch.device("cpu"),
        "augment": {"flip": 0.5},
        "none": None,
    }
    assert json.loads(json.dumps(to_jsonable(record), allow_nan=False)) == {
        "optimizer": "torch.optim.adam.Adam",
        "nan": None,
        "numpy": [0.5, 3, [0, 1], True],
        "tuple": [128, 64],
        "device": "device(type='cpu')",
        "augment": {"flip": 0.5},
        "none": None,
    }
