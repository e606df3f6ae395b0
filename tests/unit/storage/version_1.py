"""The first version of the container, frozen: how files were written before."""

import hashlib
import json

import numpy as np
from safetensors.numpy import save


def write_version_1(path, arrays, meta, kind="model"):
    """Write arrays and JSON as version 1 of the container had them."""
    header = {
        "format": "fmnist_sklearn",
        "version": "1",
        "kind": kind,
        "meta": json.dumps(meta),
    }
    names = sorted(arrays)
    layout = [(name, arrays[name].dtype.str, arrays[name].shape) for name in names]
    digest = hashlib.sha256(json.dumps([list(header.values()), layout]).encode())
    for name in names:
        digest.update(arrays[name].reshape(-1).view(np.uint8).data)
    header["sha256"] = digest.hexdigest()
    path.write_bytes(save(arrays, metadata=header))
