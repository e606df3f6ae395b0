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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's parameters")
def test_memory_is_not_fetched_anew():
    command = [sys.executable, "-c", PAGE_FAULTS, _glibc.__file__]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    without, kept = map(int, result.stdout.split())
    assert without > 1000
    assert kept < without / 2  # the system may take some memory back by itself


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(_glibc, "find_glibc", lambda: None)
    with _glibc.freed_memory_kept():
        pass


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_no_c_library_to_load(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert _glibc.find_glibc.__wrapped__() is None


def test_the_last_to_leave_lets_memory_go(monkeypatch):
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
