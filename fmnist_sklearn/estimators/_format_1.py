"""Model files of format 1, written before 0.1.0, as the newest format has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..storage import decode, encode


def upgrade(
    arrays: dict[str, np.ndarray], meta: dict[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and JSON of format 1 as format 2 has them, unchecked.

    Parameters
    ----------
    arrays, meta : dict
        As read. Whatever is missing or odd in them raises any error.
    """
    # What the next partial_fit would draw from stood in for the generator.
    rng = np.random.RandomState(meta["random_state"])
    rng.randint(np.iinfo(np.int32).max, size=4)
    _, key, pos, has_gauss, cached_gaussian = rng.get_state(legacy=True)
    module, fitted = decode(meta["module"]), decode(meta["fitted"])
    state = {
        "module": module,
        "frozen": meta["frozen"],
        "classes": meta["classes"],
        "image_shape": list(module.pop("image_shape")),
        "partial_fit": fitted.pop("_is_partial_fit"),
        "fitted": {k: v for k, v in fitted.items() if k != "image_shape_"},
        "history": [
            {k: encode(decode(v)) for k, v in row.items() if k != "batches"}
            for row in meta["history"]
        ],
        "seeds": meta["seeds"],
        "rng": {"pos": pos, "has_gauss": has_gauss, "cached_gaussian": cached_gaussian},
    }
    if "feature_names" in meta:
        state["feature_names"] = meta["feature_names"]
    return {**arrays, "rng/key": np.asarray(key)}, {
        "class": meta["class"],
        "params": {k: encode(decode(v)) for k, v in meta["params"].items()},
        "state": state,
        "versions": {},
        "preparation": None,
        "metadata": {},
    }
