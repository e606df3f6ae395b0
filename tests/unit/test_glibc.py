"""Freed memory is kept where the C library is glibc; others are left alone."""

import ctypes
import platform
import subprocess
import sys

import pytest

from fmnist_sklearn import _glibc

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
    command = [sys.executable, "-c", PAGE_FAULTS, _glibc.__file__]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    without, kept = map(int, result.stdout.split())
    assert without > 1000
    assert kept < without / 2  # the system may take some memory back by itself


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_freed_memory_kept_without_glibc(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    monkeypatch.setattr(_glibc, "find_glibc", _glibc.find_glibc.__wrapped__)
    assert _glibc.find_glibc() is None
    with _glibc.freed_memory_kept():
        _glibc.trim_memory()


def test_freed_memory_kept_until_the_last_leaves(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            if parameter == _glibc._M_TRIM_THRESHOLD:
                calls.append(value)

    monkeypatch.setattr(_glibc, "find_glibc", Library)
    with _glibc.freed_memory_kept():
        with _glibc.freed_memory_kept():
            pass
        kept = 2**31 - 1
        assert calls == [kept, kept]
    assert calls[2:] == [2 * _glibc._LARGEST_BLOCK]
