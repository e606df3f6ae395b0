import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fmnist_sklearn.storage import files
from fmnist_sklearn.storage.files import (
    atomic_write,
    check_writable,
    clear_temporaries,
    file_lock,
    open_regular,
    sha256,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows")


def write(path, content=b"content"):
    with atomic_write(path) as file:
        file.write(content)


def test_atomic_write_creates_and_replaces(tmp_path):
    path = tmp_path / "file.bin"
    for content in (b"first", b"second"):
        with atomic_write(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file.bin"]


def test_atomic_write_text(tmp_path):
    with atomic_write(tmp_path / "file.txt", "w", encoding="utf-8") as file:
        file.write("Größe")
    assert (tmp_path / "file.txt").read_bytes() == "Größe".encode()


def test_atomic_write_shows_nothing_before_the_end(tmp_path):
    path = tmp_path / "file.bin"
    with atomic_write(path) as file:
        file.write(b"content")
        file.flush()
        assert not path.exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_write_undone_by_errors(tmp_path, error):
    path = tmp_path / "file.bin"
    path.write_bytes(b"before")

    def write_half():
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_atomic_write_undone_when_replacing_fails(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), atomic_write(tmp_path / "folder"):
        pass
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="no umask on Windows")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_atomic_write_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "file.bin") as file:
            file.write(b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.bin").stat().st_mode) == mode


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_atomic_write_follows_links(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "file.bin", tmp_path / "link.bin"
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"content")
    assert link.is_symlink()
    assert target.read_bytes() == b"content"


# What is no file, and what must stay as it is


def make_special(kind, path):
    """Make what is no regular file; skip where that is not allowed."""
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")


@posix
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["folder", "FIFO", "socket", "device"])
def test_special_files_are_neither_replaced_nor_read(
    tmp_path, monkeypatch, kind, linked
):
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    path = Path("special")
    make_special(kind, path)
    before = path.lstat()
    if linked:
        Path("link").symlink_to("special")
        path = Path("link")
    attempts = (write, check_writable, lambda path: open_regular(path).__enter__())
    for attempt in attempts:
        with pytest.raises(OSError, match=f"is a {kind}, expected a regular") as caught:
            attempt(path)
        assert caught.value.filename == str(path)
    after = Path("special").lstat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert len(os.listdir(".")) == 1 + linked


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_a_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "file.bin"
    path.touch()
    path.chmod(mode)
    write(path)
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_a_private_file_is_private_while_it_is_written(tmp_path):
    path = tmp_path / "file.bin"
    path.touch(0o600)
    with atomic_write(path):
        modes = [stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()]
    assert modes == [0o600, 0o600]


@posix
def test_a_link_to_nothing_and_a_ring_of_links(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new")
    write(tmp_path / "link")
    assert (tmp_path / "new").read_bytes() == b"content"
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    with pytest.raises(OSError, match="ring"):
        write(tmp_path / "ring")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_disk_is_told_with_the_name(tmp_path, monkeypatch, number):
    path = tmp_path / "file.bin"
    path.write_bytes(b"before")

    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        write(path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_a_folder_that_is_missing_is_told_by_the_name_asked_for(tmp_path):
    path = tmp_path / "missing" / "file.bin"
    for attempt in (write, check_writable):
        with pytest.raises(FileNotFoundError) as caught:
            attempt(path)
        assert caught.value.filename == str(path)


def test_whether_a_file_could_be_written_is_found_out_without_a_trace(tmp_path):
    (tmp_path / "old").write_bytes(b"before")
    for name in ("old", "new"):
        check_writable(tmp_path / name)
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"before"


def test_errors_about_other_files_are_left_alone(tmp_path):
    with pytest.raises(OSError, match="other") as caught, atomic_write(tmp_path / "a"):
        os.stat(tmp_path / "other")
    assert caught.value.filename == str(tmp_path / "other")


# What is left behind

HANGS = """
import sys, time
from fmnist_sklearn.storage.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(bytes(int(sys.argv[2])))
    file.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


@posix
@pytest.mark.parametrize("size", [0, 1000])
def test_the_next_write_clears_what_the_dead_left_and_nothing_else(tmp_path, size):
    command = [sys.executable, "-c", HANGS, str(tmp_path / "a"), str(size)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    (tmp_path / "own.tmp").touch()
    (temporary,) = tmp_path.glob(".*.tmp")
    write(tmp_path / "b")
    assert temporary.exists()  # its writer lives
    os.kill(writer.pid, signal.SIGSTOP)
    write(tmp_path / "b")
    assert temporary.exists()
    writer.kill()
    writer.wait()
    writer.stdout.close()
    assert temporary.exists()
    write(tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["b", "own.tmp"]


WRITES = """
import sys, itertools
from fmnist_sklearn.storage.files import atomic_write
for content in itertools.cycle(b"ab"):
    with atomic_write(sys.argv[1]) as file:
        for _ in range(50):
            file.write(bytes([content]) * 10_000)
    print("ready", flush=True)
"""


@posix
def test_atomic_write_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file.bin"
    for seconds in np.random.default_rng(0).uniform(0, 0.05, 4):
        command = [sys.executable, "-c", WRITES, str(path)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        writer.kill()
        writer.communicate()
        assert path.read_bytes() in (b"a" * 500_000, b"b" * 500_000)
    write(path)
    assert os.listdir(tmp_path) == ["file.bin"]


def test_writers_beside_each_other_do_not_clear_each_others_files(tmp_path):
    def work(name):
        for number in range(20):
            write(tmp_path / name, name.encode() * number)

    threads = [threading.Thread(target=work, args=["abcd"[i]]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "d"]
    assert (tmp_path / "d").read_bytes() == b"d" * 19


@posix
def test_a_writer_whose_file_was_cleared_too_early_makes_another(tmp_path, monkeypatch):
    lock, calls = files.fcntl.flock, []

    def flock(descriptor, operation):
        if not calls:
            calls.append(operation)
            (temporary,) = tmp_path.iterdir()
            temporary.unlink()
        return lock(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    write(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"content"


@posix
def test_clearing_follows_no_links_and_opens_no_fifo(tmp_path):
    start, end = files._TEMPORARY
    (tmp_path / "kept").touch()
    (tmp_path / f"{start}1-a{end}").symlink_to(tmp_path / "kept")
    (tmp_path / f"{start}1-b{end}").mkdir()
    os.mkfifo(tmp_path / f"{start}1-c{end}")
    clear_temporaries(tmp_path)
    assert (tmp_path / "kept").exists()
    clear_temporaries(tmp_path / "missing")


# Hashes and locks


def test_sha256():
    # The example in FIPS 180-2.
    assert sha256(b"abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_file_lock_excludes_other_threads(tmp_path):
    path = tmp_path / "new folder" / "data"
    inside, overlaps = [], []

    def work():
        with file_lock(path):
            inside.append(None)
            overlaps.append(len(inside) > 1)
            # Gives way to the others, which must not get in.
            threading.Event().wait(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == [False] * 4
    assert Path(f"{path}.lock").parent.is_dir()


HOLDS = """
import sys, time
from fmnist_sklearn.storage.files import file_lock
with file_lock(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_who_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "data"
    monkeypatch.setattr(files, "_SILENT_WAIT", 0.05)
    command = [sys.executable, "-c", HOLDS, str(path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"ready\n"
    whom = f"process {holder.pid} on .*, since .*"
    with pytest.raises(TimeoutError, match=whom) as caught, file_lock(path, timeout=0):
        pass
    assert caught.value.filename == f"{path}.lock"
    with (
        pytest.warns(
            UserWarning, match=f"waiting for .*lock, locked by {whom}"
        ) as record,
        pytest.raises(TimeoutError, match=f"{whom}; if it hangs, kill it and retry"),
        file_lock(path, timeout=0.2),
    ):
        pass
    assert record[0].filename == __file__
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with file_lock(path, timeout=1):
        pass


def test_a_lock_file_that_says_nothing(tmp_path, monkeypatch):
    path = tmp_path / "data"
    with file_lock(path):
        for content in (b"", b"\x1b[31m", b"\xff", b"a\nb"):
            Path(f"{path}.lock").write_bytes(content)
            started = time.monotonic()
            with (
                pytest.raises(TimeoutError, match="held by another process"),
                file_lock(path, timeout=0),
            ):
                pass
            assert time.monotonic() - started < 5
