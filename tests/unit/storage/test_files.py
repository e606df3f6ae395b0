import errno
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fmnist_sklearn.storage import files
from fmnist_sklearn.storage.files import (
    atomic_write,
    check_writable,
    file_lock,
    open_regular,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows")


def write(path, content=b"content"):
    with atomic_write(path) as file:
        file.write(content)


@pytest.fixture
def path(tmp_path):
    """A file that exists, alone in its folder."""
    path = tmp_path / "file.bin"
    path.write_bytes(b"before")
    return path


# Whole or not at all


def test_atomic_write_shows_nothing_before_the_end(path):
    for name in ("file.bin", "new.bin"):
        with atomic_write(path.with_name(name), "w") as file:
            file.write("Größe")
            file.flush()
            assert path.read_bytes() == b"before"
            assert not path.with_name("new.bin").exists()
        assert path.with_name(name).read_bytes() == "Größe".encode()
        path.write_bytes(b"before")
    assert sorted(os.listdir(path.parent)) == ["file.bin", "new.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_write_is_undone_by_errors(path, error):
    def write_half():
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"before"
    assert os.listdir(path.parent) == ["file.bin"]


def test_atomic_write_by_several_threads(tmp_path):
    def work(name):
        for number in range(20):
            write(tmp_path / name, name.encode() * number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, "abcd"))
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "d"]
    assert (tmp_path / "d").read_bytes() == b"d" * 19


# Permissions, links and what is not a file


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_atomic_write_of_a_new_file_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


@posix
@pytest.mark.parametrize("mode", [0o600, 0o755])
def test_atomic_write_keeps_permissions_at_any_time(path, mode):
    path.chmod(mode)
    with atomic_write(path):
        modes = [stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()]
    assert modes == [mode, mode]
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_atomic_write_follows_links(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "file.bin", tmp_path / "link"
    link.symlink_to(target)  # to nothing, at first
    for content in (b"first", b"second"):
        write(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    with pytest.raises(OSError, match="ring"):
        write(tmp_path / "ring")


def make_special(kind, path):
    """Make what is not a regular file; skip where that is not allowed."""
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")


@posix
@pytest.mark.parametrize("kind", ["folder", "FIFO", "device"])
def test_special_files_are_neither_replaced_nor_read(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    make_special(kind, Path("special"))
    Path("link").symlink_to("special")
    before = Path("special").lstat()
    for path in ("special", "link"):
        for use in (write, check_writable, lambda path: open_regular(path).__enter__()):
            with pytest.raises(OSError, match="is not a regular file") as caught:
                use(path)
            assert caught.value.filename == path
    after = Path("special").lstat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert len(os.listdir(".")) == 2


# Errors name the file that was asked for


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_atomic_write_to_a_full_or_read_only_disk(path, monkeypatch, number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        write(path)
    assert str(caught.value).endswith(f": {str(path)!r}")
    assert path.read_bytes() == b"before"
    assert os.listdir(path.parent) == ["file.bin"]


@pytest.mark.parametrize("use", [write, check_writable])
def test_atomic_write_to_a_missing_folder(tmp_path, use):
    path = tmp_path / "missing" / "file.bin"
    with pytest.raises(FileNotFoundError) as caught:
        use(path)
    assert caught.value.filename == str(path)


def test_atomic_write_leaves_errors_about_other_files_alone(path):
    with pytest.raises(OSError, match="other") as caught, atomic_write(path):
        os.stat(path.with_name("other"))
    assert caught.value.filename == str(path.with_name("other"))


def test_check_writable_leaves_no_trace(path):
    for name in ("file.bin", "new"):
        check_writable(path.with_name(name))
    assert os.listdir(path.parent) == ["file.bin"]
    assert path.read_bytes() == b"before"


# Locks


def test_file_lock_excludes_others(tmp_path):
    path = tmp_path / "new" / "data"

    def lock():
        with file_lock(path, timeout=0):
            return True

    with ThreadPoolExecutor(1) as other_thread:
        with file_lock(path):
            assert os.listdir(path.parent) == ["data.lock"]
            with pytest.raises(TimeoutError, match=r"data\.lock"):
                other_thread.submit(lock).result()
        assert other_thread.submit(lock).result()
