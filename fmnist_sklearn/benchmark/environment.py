"""What a timing depends on besides the code: the machine and the versions."""

from __future__ import annotations

import inspect
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import joblib
import torch

from .data import Images

_PACKAGES = (
    "torch",
    "torchvision",
    "skorch",
    "scikit-learn",
    "numpy",
    "pandas",
    "fmnist-sklearn",
)


def describe_hardware() -> dict[str, Any]:
    """Describe the processor, its cores, the GPU and the operating system.

    Returns
    -------
    hardware : dict
        ``"cpu"`` (model name), ``"cores"`` (those this process may use),
        ``"torch_threads"``, ``"gpu"`` (name of the CUDA device, or None) and
        ``"system"``.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark.environment import describe_hardware
    >>> list(describe_hardware())
    ['cpu', 'cores', 'torch_threads', 'gpu', 'system']
    """
    has_gpu = torch.cuda.is_available()
    return {
        "cpu": _cpu_model(),
        "cores": joblib.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "system": platform.platform(terse=True),
    }


def describe_versions() -> dict[str, str]:
    """Tell the versions of Python and of the packages that training runs on.

    Returns
    -------
    versions : dict of str to str
        "python" or the name of a package -> its version.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark.environment import describe_versions
    >>> sorted(describe_versions())[:3]
    ['fmnist-sklearn', 'numpy', 'pandas']
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a source tree
            versions[package] = "not installed"
    return versions


def describe_call(function: Callable[..., Any], given: Mapping[str, Any]) -> list[str]:
    """Tell how to make a run again: the command, if it was one, and the call.

    Parameters
    ----------
    function : callable
        What makes the run.
    given : mapping of str to object
        Its arguments. Arrays and tables go by their names.

    Returns
    -------
    lines : list of str
        For a shell, where the run was started from one; then for Python.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark.environment import describe_call
    >>> def run_benchmark(X=None, *, cv="holdout", seed=0): ...
    >>> describe_call(run_benchmark, {"X": [[0]], "cv": 3, "seed": 0})[-1]
    'run_benchmark(X, cv=3)'
    """
    lines = []
    program = Path(sys.argv[0])
    if program.stem == "fmnist-sklearn":
        lines.append(shlex.join(["fmnist-sklearn", *sys.argv[1:]]))
    elif program.name == "__main__.py" and program.parent.name == "fmnist_sklearn":
        lines.append(shlex.join(["python", "-m", "fmnist_sklearn", *sys.argv[1:]]))
    arguments = []
    for name, parameter in inspect.signature(function).parameters.items():
        value = given.get(name, parameter.default)
        if value is parameter.default or _same(value, parameter.default):
            continue
        text = name if _is_data(value) else _in_python(value)
        is_named = parameter.kind is parameter.KEYWORD_ONLY
        arguments.append(f"{name}={text}" if is_named else text)
    lines.append(f"{function.__name__}({', '.join(arguments)})")
    return lines


def _is_data(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], list)
    return isinstance(value, Images) or hasattr(value, "__array__")


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and not _is_data(value) and value == default


def _in_python(value: Any) -> str:
    """Write a value as one would in Python, a distribution of scipy's too."""
    if isinstance(value, Mapping):
        items = (f"{key!r}: {_in_python(item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if hasattr(value, "dist") and hasattr(value, "args"):
        given = [*map(repr, value.args), *(f"{k}={v!r}" for k, v in value.kwds.items())]
        return f"{value.dist.name}({', '.join(given)})"
    if isinstance(value, Path):
        return repr(str(value))
    return repr(value)


def _cpu_model() -> str:
    """Name the processor; the standard library knows only its family on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.stdout.strip():
            return found.stdout.strip()
    return platform.processor() or platform.machine() or "unknown"
