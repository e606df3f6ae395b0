"""Compare the speed of ``predict`` with loops by hand, runtimes and plain skorch.

All contenders predict the labels of the same test images with the same network, in
turn, each in a process of its own. The loops, in PyTorch, compiled, and in onnxruntime
and OpenVINO where these are installed, get the batch size that is fastest for them,
found beforehand. The rounds are recorded in ``docs/speed``::

    python examples/benchmarks/prediction_speed.py --model lenet5
"""

from __future__ import annotations

import argparse
import io
import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from contenders import (
    ESTIMATORS,
    PLAIN_NETWORKS,
    Job,
    parse_arguments,
    scaled,
    stopwatch,
    time_in_turn,
)
from records import COMPILED_LOOP, OURS, PLAIN_LOOP, print_rates, write_speed
from skorch import NeuralNetClassifier
from torch import Tensor

from fmnist_sklearn import fetch_fashion_mnist

BATCH_SIZES = (50, 100, 250, 500, 1000, 2000)  # which divide the 10,000 images


def load_images():
    """Return the 10,000 test images, as uint8 rows."""
    return fetch_fashion_mnist(subset="test", return_X_y=True)[0]


def in_slices(predict: Callable[[Tensor], np.ndarray]) -> Job:
    """Predict in slices of a resident float tensor, of the best size."""
    images = scaled(load_images())

    def seconds(batch_size: int) -> float:
        slices = images.split(batch_size)
        return stopwatch(lambda: np.concatenate([predict(x) for x in slices]))

    def median_of_some(batch_size: int) -> float:
        seconds(batch_size)
        return statistics.median(seconds(batch_size) for _ in range(5))

    return partial(seconds, min(BATCH_SIZES, key=median_of_some))


def plain_loop(model: str, *, compiled: bool = False) -> Job:
    """Call the network itself, or what ``torch.compile`` makes of it for each size."""
    network = PLAIN_NETWORKS[model]().eval()
    if compiled:
        network.compile(dynamic=False)

    @torch.inference_mode()
    def predict(x: Tensor) -> np.ndarray:
        return network(x).argmax(1).numpy()

    return in_slices(predict)


def onnx_runtime(model: str) -> Job | None:
    """Run the network in onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(as_onnx(model), options)
    [name] = [each.name for each in session.get_inputs()]
    return in_slices(lambda x: session.run(None, {name: x.numpy()})[0].argmax(1))


def openvino_runtime(model: str) -> Job | None:
    """Run the network in OpenVINO, in float32 as the others do."""
    try:
        import openvino
    except ImportError:
        return None
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    graph = openvino.Core().read_model(as_onnx(model))
    network = openvino.compile_model(graph, "CPU", settings)
    return in_slices(lambda x: network(x.numpy())[0].argmax(1))


def as_onnx(model: str) -> bytes:
    """Write the network as ONNX, for any number of images."""
    file, shapes = io.BytesIO(), {"input": {0: torch.export.Dim("n")}}
    example = (torch.zeros(2, 1, 28, 28),)
    program = torch.onnx.export(
        PLAIN_NETWORKS[model]().eval(), example, dynamic_shapes=shapes, dynamo=True
    )
    program.save(file)
    return file.getvalue()


def ours(model: str) -> Job:
    """Predict with a fitted estimator from the uint8 rows."""
    images = load_images()
    X, y = fetch_fashion_mnist(return_X_y=True)
    estimator = ESTIMATORS[model](max_epochs=1, validation_fraction=0)
    estimator.fit(X[:640], y[:640])
    return lambda: stopwatch(lambda: estimator.predict(images))


def plain_skorch(model: str) -> Job:
    """Predict with skorch's defaults from float images."""
    images = scaled(load_images()).numpy()
    net = NeuralNetClassifier(
        PLAIN_NETWORKS[model], criterion=torch.nn.CrossEntropyLoss
    ).initialize()
    return lambda: stopwatch(lambda: net.predict(images))


def main() -> None:
    """Parse the command line, print the comparison and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(ESTIMATORS), default="lenet5")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parse_arguments(parser)
    contenders = {
        PLAIN_LOOP: partial(plain_loop, arguments.model),
        COMPILED_LOOP: partial(plain_loop, arguments.model, compiled=True),
        "onnxruntime": partial(onnx_runtime, arguments.model),
        "OpenVINO": partial(openvino_runtime, arguments.model),
        OURS: partial(ours, arguments.model),
        "plain skorch": partial(plain_skorch, arguments.model),
    }
    run = {
        "job": "prediction",
        "model": arguments.model,
        "batch_size": "best",
        "threads": arguments.threads,
        "rows": 10_000,
        "seconds": time_in_turn(contenders, arguments.rounds, arguments.threads),
    }
    print_rates(run)
    write_speed(run)


if __name__ == "__main__":
    main()
