"""What several fits share on a GPU, with a stand-in for it."""

import contextlib

import pytest
import torch

from fmnist_sklearn.training import cuda_graph, device


class Stream:
    """Keeps a list of what it was asked."""

    made = 0

    def __init__(self, device=None):
        Stream.made += 1
        self.cuda_stream = Stream.made % 4
        self.asked = []

    def wait_stream(self, other):
        self.asked.append(("wait", other))

    def synchronize(self):
        self.asked.append("synchronize")


class Graph:
    """Ends badly where told."""

    fails = False

    def __init__(self):
        self.asked = []

    def register_generator_state(self, generator):
        self.asked.append(generator)

    def capture_begin(self, pool, capture_error_mode):
        assert cuda_graph._capture_lock.locked()
        self.asked.append((pool, capture_error_mode))

    def capture_end(self):
        if Graph.fails:
            raise RuntimeError("capture failed")
        self.asked.append("end")

    def replay(self):
        self.asked.append("replay")

    def reset(self):
        assert cuda_graph._capture_lock.locked()
        self.asked.append("reset")


class Pool:
    id = (0, 7)


class Event:
    waited: list = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, blocking):
        assert blocking

    def record(self):
        pass

    def synchronize(self):
        Event.waited.append(self)


@pytest.fixture
def gpu(monkeypatch):
    """Stand in for what a fit asks of torch.cuda; return the default stream."""
    default = Stream()
    current = [default]

    @contextlib.contextmanager
    def stream(chosen):
        current.append(chosen)
        try:
            yield
        finally:
            current.pop()

    for name, value in {
        "Stream": Stream,
        "CUDAGraph": Graph,
        "MemPool": Pool,
        "Event": Event,
        "stream": stream,
        "device": lambda device: contextlib.nullcontext(),
        "current_device": lambda: 0,
        "current_stream": lambda device=None: current[-1],
        "mem_get_info": lambda device: (2**36, 2**36),
        "memory_reserved": lambda device: 0,
        "memory_allocated": lambda device: 0,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for name in ("_cuda_clearCublasWorkspaces", "_cuda_endAllocateToPool"):

        def asked(*args, name=name):
            default.asked.append((name, *args))

        monkeypatch.setattr(torch._C, name, asked)
    monkeypatch.setattr(device, "_idle_streams", {})
    monkeypatch.setattr(device, "_known_streams", set())
    monkeypatch.setattr(cuda_graph, "_failed", [])
    monkeypatch.setattr(Graph, "fails", False)
    Event.waited.clear()
    return default


CUDA = torch.device("cuda")


def test_each_fit_has_a_stream_of_its_own(gpu):
    with device.own_stream(CUDA):
        first = torch.cuda.current_stream()
        with device.own_stream(CUDA):
            second = torch.cuda.current_stream()
    assert first.cuda_stream != second.cuda_stream
    assert first.asked == [("wait", gpu), "synchronize"]
    assert second.asked == [("wait", first), "synchronize"]
    with contextlib.suppress(KeyboardInterrupt), device.own_stream(CUDA):
        assert torch.cuda.current_stream() is first  # the streams go round
        raise KeyboardInterrupt
    assert first.asked[2:] == first.asked[:2]
    assert torch.cuda.current_stream() is gpu


def test_a_stream_that_is_in_use_is_not_handed_out_again(gpu):
    """PyTorch's streams come round again: here, there are four."""
    with contextlib.ExitStack() as stack:
        used = set()
        for _ in range(3):
            Stream()  # somebody else's
            stack.enter_context(device.own_stream(CUDA))
            used.add(torch.cuda.current_stream().cuda_stream)
    assert len(used) == 3


def test_memory_of_cublas_goes_with_the_last_fit(gpu):
    cleared = ("_cuda_clearCublasWorkspaces",)
    with device.own_stream(CUDA):
        with device.own_stream(CUDA):
            pass
        assert cleared not in gpu.asked
    assert gpu.asked == [cleared]


def test_no_stream_on_a_cpu(gpu):
    with device.own_stream(torch.device("cpu")):
        assert torch.cuda.current_stream() is gpu


def test_graphs_are_recorded_one_at_a_time_and_let_go(gpu):
    generator = torch.Generator()
    recorder = cuda_graph.GraphRecorder(generator)
    calls = []
    replay = recorder.record(lambda: calls.append("recorded"))
    replay()
    (graph,) = recorder._graphs
    assert calls == ["recorded"]
    begun = [generator, (Pool.id, "thread_local"), "end", "replay"]
    assert graph.asked == begun
    recorder.close()
    assert graph.asked == [*begun, "reset"]
    assert recorder._pool is None
    assert gpu.asked == ["synchronize"]
    assert not cuda_graph._capture_lock.locked()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_capture_that_is_broken_off_is_ended(gpu, error):
    recorder = cuda_graph.GraphRecorder(torch.Generator())

    def function():
        raise error

    with pytest.raises(error):
        recorder.record(function)
    assert not cuda_graph._failed
    recorder.close()
    assert not cuda_graph._capture_lock.locked()


def test_a_capture_that_cannot_end_is_not_freed(gpu):
    """PyTorch's allocator still refers to it."""
    recorder = cuda_graph.GraphRecorder(torch.Generator())
    Graph.fails = True
    with pytest.raises(RuntimeError, match="capture failed"):
        recorder.record(lambda: None)
    ((graph, pool),) = cuda_graph._failed
    recorder.close()
    assert "reset" not in graph.asked
    assert isinstance(pool, Pool)
    assert ("_cuda_endAllocateToPool", 0, Pool.id) in gpu.asked
    assert not cuda_graph._capture_lock.locked()


def test_the_queue_stays_short(gpu):
    recorder = cuda_graph.GraphRecorder(torch.Generator())
    for _ in range(5):
        recorder.keep_queue_short()
    assert len(Event.waited) == 3
    assert "synchronize" not in gpu.asked


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
def test_batches_of_predictions_fit_the_device(
    gpu, monkeypatch, where, n_pixels, free, expected
):
    total = max(free, 2**36)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, total))
    assert device.evaluation_batch_size(torch.device(where), n_pixels) == expected


def test_equal_data_have_one_copy():
    copies = device.SharedCopies()
    where = torch.device("cpu")
    values = torch.arange(12, dtype=torch.uint8).view(3, 4)
    first = copies.get(values, where)
    assert copies.get(values.clone(), where) is first
    values += 1  # what is on the device stays what it was
    second = copies.get(values, where)
    assert second is not first
    assert torch.equal(second, first + 1)
    assert copies.get(values.float(), where).dtype == torch.float32
    del first, second
    third = copies.get(values, where)
    assert len(copies._copies) == 1
    assert torch.equal(third, values)
