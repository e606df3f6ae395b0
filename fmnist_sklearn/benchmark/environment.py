"""The circumstances of a run: the machine, the versions and the command."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import joblib
import torch

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
    >>> from fmnist_sklearn.benchmark import describe_hardware
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
    """Return the versions of Python and of the packages that training runs on.

    Returns
    -------
    versions : dict of str to str
        "python" or the name of a package -> its version.

    Examples
    --------
    >>> from fmnist_sklearn.benchmark import describe_versions
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


def describe_command() -> list[str]:
    """Return the shell command that this process runs, if it is one of ours.

    Returns
    -------
    lines : list of str
        One command line; none in a script, a notebook or another program.
    """
    program = Path(sys.argv[0])
    if program.stem == "fmnist-sklearn":
        return [shlex.join(["fmnist-sklearn", *sys.argv[1:]])]
    if program.name == "__main__.py" and program.parent.name == "fmnist_sklearn":
        return [shlex.join(["python", "-m", "fmnist_sklearn", *sys.argv[1:]])]
    return []


def _cpu_model() -> str:
    """Return the model of the processor; on Linux, platform knows only its family."""
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
