import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from fmnist_sklearn.storage.files import atomic_write, file_lock, sha256


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


@pytest.mark.parametrize("mode", ["rb", "ab", "r+b"])
def test_atomic_write_rejects_other_modes(tmp_path, mode):
    with (
        pytest.raises(ValueError, match=r"mode must be 'wb' or 'w', got '[ar]"),
        atomic_write(tmp_path / "file.bin", mode),
    ):
        pass


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
