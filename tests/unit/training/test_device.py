"""Device, precision, PyTorch's settings, and what fits share on a (simulated) GPU."""

import contextlib
import ctypes
import pickle
import platform
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from unittest.mock import Mock, call

import numpy as np
import pytest
import torch

from fmnist_sklearn import LeNet5Classifier, MiniVGGClassifier, load_model, save_model
from fmnist_sklearn.training import cuda_graph, device
from fmnist_sklearn.training.device import (
    repeatable_cudnn,
    resolve_device,
    resolve_precision,
)

KINDS = [
    (LeNet5Classifier, {"augment": {"flip": 0.5, "shift": 1, "erase": 3}}),
    (
        MiniVGGClassifier,
        {"module__widths": (4, "M", 6, "M"), "module__hidden_units": 8, "dropout": 0.2},
    ),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")

# Device and precision


@pytest.mark.parametrize("available", [True, False])
def test_device_auto_is_cuda_where_there_is_one(monkeypatch, available):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device("auto").type == ("cuda" if available else "cpu")
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == CPU


@pytest.mark.parametrize(
    "name",
    ["gpu", "cuda:x", "", 3.5, "cuda:99", torch.device("cuda:99"), "meta"],
)
def test_device_that_is_not_here(name):
    match = rf"device={re.escape(repr(name))} is unknown, not available.*device='cpu'"
    with pytest.raises(ValueError, match=match):
        resolve_device(name)


@pytest.fixture
def hardware(monkeypatch):
    """A function that sets what the hardware can do; None: PyTorch cannot say."""

    def set_up(*, avx512=False, amx=False, cuda=False):
        for name, value in (
            ("_is_avx512_bf16_supported", avx512),
            ("_is_amx_tile_supported", amx),
        ):
            monkeypatch.delattr(torch.cpu, name, raising=False)
            if value is not None:
                monkeypatch.setattr(torch.cpu, name, lambda v=value: v, raising=False)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: cuda
        )

    return set_up


@pytest.mark.parametrize(
    ("can", "where", "expected"),
    [
        ({}, CPU, "float32"),
        ({"avx512": True}, CPU, "bfloat16"),
        ({"amx": True}, CPU, "bfloat16"),
        ({"cuda": True}, CPU, "float32"),
        ({"avx512": None, "amx": None}, CPU, "float32"),
        ({"cuda": True}, CUDA, "bfloat16"),
        ({"avx512": True}, CUDA, "float32"),
        ({"avx512": True, "amx": True, "cuda": True}, torch.device("mps"), "float32"),
    ],
)
def test_precision_by_hardware(hardware, can, where, expected):
    hardware(**can)
    assert resolve_precision("auto", where, bfloat16_pays=True) == expected
    assert resolve_precision("auto", where, bfloat16_pays=False) == "float32"
    for name in ("float32", "bfloat16"):
        for pays in (True, False):
            assert resolve_precision(name, where, pays) == name


@pytest.mark.parametrize("able", [True, False])
def test_precision_rule_of_the_two_classes(hardware, able):
    hardware(avx512=able)
    lenet5 = LeNet5Classifier(device="cpu").initialize()
    mini_vgg = MiniVGGClassifier(device="cpu").initialize()
    assert lenet5.precision_ == "float32"
    assert mini_vgg.precision_ == ("bfloat16" if able else "float32")


@pytest.mark.parametrize(("cls", "params"), KINDS, ids=["LeNet5", "MiniVGG"])
def test_precision_bfloat16_trains_float32_weights(X, y, quick, cls, params):
    settings = quick | {"max_epochs": 1} | params
    nets = [
        cls(**settings, precision=name).fit(X[:60], y[:60])
        for name in ("bfloat16", "float32")
    ]
    assert [net.precision_ for net in nets] == ["bfloat16", "float32"]
    assert {p.dtype for p in nets[0].module_.parameters()} == {torch.float32}
    assert nets[0].forward(X[:5]).dtype == torch.float32
    loss, of_float32 = (net.history_[0, "train_loss"] for net in nets)
    assert of_float32 != loss
    assert of_float32 == pytest.approx(loss, rel=0.1)


# Settings of PyTorch around a call


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "device meta": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": deterministic,
}


@pytest.fixture(scope="module", params=["bytes", "floats"])
def rows(request, sample):
    X, y = sample
    return (X[:80] if request.param == "bytes" else X[:80] / 255.0), y[:80]


@pytest.fixture(scope="module", params=KINDS, ids=["LeNet5", "MiniVGG"])
def undisturbed(request, rows):
    """Constructor, probabilities after fit and after partial_fit, and the fitted."""
    cls, params = request.param
    params = {"max_epochs": 2, "random_state": 0, "precision": "float32", **params}
    net = cls(**params).fit(*rows)
    probabilities = net.predict_proba(rows[0])
    continued = cls(**params).fit(*rows).partial_fit(*rows).predict_proba(rows[0])
    return lambda: cls(**params), probabilities, continued, net


def settings_of_pytorch():
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_caller_change_nothing(rows, undisturbed, setting, tmp_path):
    make, probabilities, continued, expected = undisturbed
    X, y = rows
    with SETTINGS[setting]():
        before = settings_of_pytorch()
        net = make().fit(X, y)
        inside = net.predict_proba(X)
        of_earlier = expected.predict_proba(X)
        pickled = pickle.dumps(net)
        save_model(net, tmp_path / "inside.safetensors")
        loaded = load_model(tmp_path / "inside.safetensors").predict_proba(X)
        net.partial_fit(X, y)
        assert settings_of_pytorch() == before
    for result in (
        inside,
        of_earlier,
        loaded,
        pickle.loads(pickled).predict_proba(X),
        load_model(tmp_path / "inside.safetensors").predict_proba(X),
    ):
        assert result.dtype == np.float64
        assert np.array_equal(result, probabilities)
    assert {p.dtype for p in net.module_.parameters()} == {torch.float32}
    assert not any(p.is_inference() for p in net.module_.parameters())
    assert np.array_equal(net.predict_proba(X), continued)


def test_repeatable_cudnn_lasts_for_the_last_user(monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setattr(cudnn, "benchmark", True)
    with repeatable_cudnn():
        with repeatable_cudnn():
            assert cudnn.deterministic
        assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


# A GPU that several fits share, with a stand-in for it


class Stream:
    """Keeps a list of its calls; there are four streams, which come round again."""

    made = 0

    def __init__(self, device=None):
        Stream.made += 1
        self.cuda_stream = Stream.made % 4
        self.calls = []

    def wait_stream(self, other):
        self.calls.append(("wait", other))

    def synchronize(self):
        self.calls.append("synchronize")


@pytest.fixture
def gpu(monkeypatch):
    """Stand in for what a fit uses of torch.cuda; return the default stream."""
    default = Stream()
    default.graph, default.pool, default.event = Mock(), Mock(id=(0, 7)), Mock()
    current = [default]

    @contextlib.contextmanager
    def stream(chosen):
        current.append(chosen)
        try:
            yield
        finally:
            current.pop()

    def is_locked(*args, **kwargs):
        assert cuda_graph._capture_lock.locked()

    default.graph.capture_begin.side_effect = is_locked
    default.graph.reset.side_effect = is_locked
    for name, value in {
        "Stream": Stream,
        "CUDAGraph": lambda: default.graph,
        "MemPool": lambda: default.pool,
        "Event": lambda blocking: default.event,
        "stream": stream,
        "device": lambda device: contextlib.nullcontext(),
        "current_device": lambda: 0,
        "current_stream": lambda device=None: current[-1],
        "memory_reserved": lambda device: 0,
        "memory_allocated": lambda device: 0,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    cleared = partial(default.calls.append, "cleared")
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", cleared)
    monkeypatch.setattr(device, "_idle_streams", {})
    monkeypatch.setattr(cuda_graph, "_unfinished", [])
    yield default
    assert not cuda_graph._capture_lock.locked()


def test_own_stream_is_one_for_each_fit(gpu):
    with device.own_stream(CUDA):
        first = torch.cuda.current_stream()
        with device.own_stream(CUDA):
            second = torch.cuda.current_stream()
    assert first.cuda_stream != second.cuda_stream
    assert first.calls == [("wait", gpu), "synchronize"]
    assert second.calls == [("wait", first), "synchronize"]
    with contextlib.suppress(KeyboardInterrupt), device.own_stream(CUDA):
        assert torch.cuda.current_stream() is first  # the streams go round
        raise KeyboardInterrupt
    assert first.calls[2:] == first.calls[:2]
    assert torch.cuda.current_stream() is gpu
    with device.own_stream(CPU):
        assert torch.cuda.current_stream() is gpu


def test_own_stream_of_the_last_fit_frees_memory_of_cublas(gpu):
    with device.own_stream(CUDA):
        with device.own_stream(CUDA):
            pass
        assert "cleared" not in gpu.calls
    assert gpu.calls == ["cleared"]


def test_graph_recorder_records_one_at_a_time_and_releases(gpu):
    generator = torch.Generator()
    recorder = cuda_graph.GraphRecorder(generator)
    function = Mock()
    replay = recorder.record(function)
    replay()
    function.assert_called_once_with()
    recorder.close()
    assert gpu.graph.method_calls == [
        call.register_generator_state(generator),
        call.capture_begin(gpu.pool.id, capture_error_mode="thread_local"),
        call.capture_end(),
        call.replay(),
        call.reset(),
    ]
    assert recorder._pool is None
    assert gpu.calls == ["synchronize"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_graph_recorder_ends_a_capture_that_is_broken_off(gpu, error):
    recorder = cuda_graph.GraphRecorder(torch.Generator())
    with pytest.raises(error):
        recorder.record(Mock(side_effect=error))
    gpu.graph.capture_end.assert_called_once_with()
    assert not cuda_graph._unfinished
    recorder.close()


def test_graph_recorder_does_not_free_a_capture_that_cannot_end(gpu):
    """PyTorch's allocator still refers to it."""
    recorder = cuda_graph.GraphRecorder(torch.Generator())
    gpu.graph.capture_end.side_effect = RuntimeError("capture failed")
    with pytest.raises(RuntimeError, match="capture failed"):
        recorder.record(Mock())
    assert cuda_graph._unfinished == [(gpu.graph, gpu.pool)]
    recorder.close()
    gpu.graph.reset.assert_not_called()


def test_graph_recorder_keeps_the_queue_short(gpu):
    recorder = cuda_graph.GraphRecorder(torch.Generator())
    for _ in range(5):
        recorder.keep_queue_short()
    assert gpu.event.synchronize.call_count == 3
    assert "synchronize" not in gpu.calls


@pytest.mark.parametrize(
    ("where", "n_pixels", "free", "expected"),
    [
        ("cpu", 784, 2**36, 160),
        ("cuda", 784, 2**36, 4096),
        ("cuda", 784, 2**31, 2674),
        ("cuda", 3 * 224 * 224, 2**36, 27),
        ("cuda", 784, 2**24, 20),
        ("cuda", 10**8, 2**36, 1),
    ],
)
def test_evaluation_batch_size_fits_the_device(
    gpu, monkeypatch, where, n_pixels, free, expected
):
    total = max(free, 2**36)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, total))
    assert device.evaluation_batch_size(torch.device(where), n_pixels) == expected


# Memory that was freed

# By the file's path: the rest of its folder takes as long again to import as PyTorch.
PAGE_FAULTS = """
import resource, runpy, sys
from contextlib import nullcontext
import torch
freed_memory_kept = runpy.run_path(sys.argv[1])["freed_memory_kept"]

def faults(keep):
    with freed_memory_kept() if keep else nullcontext():
        for number in range(20):
            if number == 1:
                start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            tensors = [torch.ones(2**22) for _ in range(2)]  # 16 MiB each
            del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

print(faults(False), faults(True))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's parameters")
def test_freed_memory_kept_saves_page_faults():
    command = [sys.executable, "-c", PAGE_FAULTS, device.__file__]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    without, kept = map(int, result.stdout.split())
    assert without > 1000
    assert kept < without / 2  # the system may take some memory back by itself


def test_freed_memory_kept_without_glibc(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(device, "_find_glibc", device._find_glibc.__wrapped__)
    monkeypatch.setattr(ctypes, "CDLL", None)  # not called
    with device.freed_memory_kept():
        pass


def test_freed_memory_kept_until_the_last_leaves(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            if parameter == device._M_TRIM_THRESHOLD:
                calls.append(value)

    monkeypatch.setattr(device, "_find_glibc", Library)
    with device.freed_memory_kept():
        with device.freed_memory_kept():
            pass
        assert calls == [2**31 - 1]
    assert calls[1:] == [2 * device._LARGEST_BLOCK]


def test_threads_take_turns_but_do_not_wait_for_good(monkeypatch):
    """For another that waits for them, say."""
    monkeypatch.setattr(device, "_n_processors", lambda: 1)

    def compute():
        with device.in_turn():
            return threading.get_ident()

    with device.in_turn(), device.in_turn(), ThreadPoolExecutor(1) as other:
        assert other.submit(compute).result() != threading.get_ident()
    assert device._turns(1).acquire(blocking=False)
    device._turns(1).release()
