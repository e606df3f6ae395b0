"""Model files that nobody wrote in good faith, and damaged ones.

Every byte of a container is cut and flipped in storage/test_container.py.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fmnist_sklearn import MiniVGGClassifier, inspect_model, load_model, save_model

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "fuzz_files.py"


def test_hostile_files_are_refused_and_run_nothing():
    """Each with a ValueError, soon, in little memory; see the script."""
    options = ["--hostile", "300", "--fuzzed", "500"]
    run = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("0 failures\n")


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    """As small a model file as there is."""
    X = np.random.default_rng(0).integers(0, 256, (12, 4), dtype=np.uint8)
    net = MiniVGGClassifier(
        max_epochs=1, random_state=0, module__widths=(1,), module__hidden_units=1
    )
    path = tmp_path_factory.mktemp("attack") / "net.safetensors"
    save_model(net.fit(X, np.arange(12) % 2), path)
    return path


def test_truncations_are_detected(small_file):
    content = small_file.read_bytes()
    path = small_file.with_name("cut.safetensors")
    for length in range(0, len(content), 5):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.safetensors is .*truncated"):
            load_model(path)


def test_flips_of_bytes_are_detected(small_file):
    content = bytearray(small_file.read_bytes())
    rng = np.random.default_rng(0)
    path = small_file.with_name("flipped.safetensors")
    for at in range(2, len(content), 5):
        before = content[at]
        content[at] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        content[at] = before
        load = load_model if at % 2 else inspect_model
        with pytest.raises(ValueError, match=r"flipped\.safetensors (is|has|holds)"):
            load(path)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_killed_writers_leave_the_old_file_or_the_new():
    script = SCRIPT.with_name("killed_saves.py")
    options = ["--rounds", "2", "--jobs", "save", "fetch"]
    run = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
