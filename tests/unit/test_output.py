import io
import os
import sys

import pandas as pd
import pytest

from fmnist_sklearn.output import (
    escape_unencodable,
    flush_output,
    print_line,
    print_notice,
    print_table,
    printable,
)

ROW = {
    "model": "MiniVGG (lr=0.001, batch_size=128)",
    "validation accuracy": "0.9217 ± 0.0024",
    "test accuracy": "0.9217 ± 0.0024",
    "training time (s)": "1152 ± 12",
    "epochs (kept)": "40 (30)",
    "parameters": "2,167,786",
}


def test_table_fits_100_columns_with_every_cell_whole(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(pd.DataFrame([ROW]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert any(all(cell in line for cell in ROW.values()) for line in lines)


def test_table_is_aligned(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    table = {"model": ["a", "long name"], "time (s)": ["12", "3"], "n": ["1", "1,000"]}
    print_table(pd.DataFrame(table))
    assert capsys.readouterr().out.splitlines() == [
        "model      time      n",
        "            (s)",
        "a            12      1",
        "long name     3  1,000",
    ]


@pytest.mark.parametrize("columns", [38, 40, 80])
def test_table_on_a_narrow_terminal_loses_nothing(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(pd.DataFrame([ROW, ROW]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) == 2 * len(ROW)
    assert lines[0] == ROW["model"]
    for line, (header, cell) in zip(lines[1:], list(ROW.items())[1:], strict=False):
        assert line.split("  ", 2)[1].strip() == header
        assert line.endswith(f"  {cell}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("grün ☂ シャツ", "grün ☂ シャツ"),
        ("a\tb\nc\r", r"a\tb\nc\r"),
        ("\x1b[2J\x9b31m\x7f", r"\x1b[2J\x9b31m\x7f"),
        ("gnp\u202egpj\u2028", r"gnp\u202egpj\u2028"),
        ("\udcfc", "\udcfc"),
        (7, "7"),
    ],
)
def test_printable(value, expected):
    assert printable(value) == expected


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", b"gr\xfcn gr\xc3\xbcn \xe2\x98\x82\n"),
        ("ascii", b"gr\xfcn gr\\xfcn \\u2602\n"),
        ("latin-1", b"gr\xfcn gr\xfcn \\u2602\n"),
    ],
)
def test_any_text_for_any_encoding(monkeypatch, encoding, expected):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with escape_unencodable(sys.stdout):
        print_line("gr\udcfcn grün ☂")
    assert stream.buffer.getvalue() == expected
    assert stream.errors == "strict"


def test_streams_that_encode_nothing(monkeypatch):
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        with escape_unencodable(sys.stdout):
            print_line("a ☂ \udcfc")
            print_notice("b \udcfc\n", start="\n")
            flush_output()
        if stream is not None:
            assert stream.getvalue() == "a ☂ \udcfc\n\nfmnist-sklearn: b \\udcfc\\n\n"


@pytest.fixture
def unread():
    """A text file into a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        yield stream


def test_stdout_that_nobody_reads_ends_the_command(monkeypatch, unread):
    monkeypatch.setattr(sys, "stdout", unread)
    with pytest.raises(SystemExit) as end:
        print_line("a")
    assert end.value.code == 141
    unread.flush()  # as Python does at its end
    print_line("b")


def test_what_others_printed_is_settled(monkeypatch, unread):
    monkeypatch.setattr(sys, "stdout", unread)
    print("usage: ...")
    with pytest.raises(SystemExit) as end:
        flush_output()
    assert end.value.code == 141
    unread.flush()


def test_stderr_that_nobody_reads_changes_nothing(monkeypatch, unread):
    monkeypatch.setattr(sys, "stderr", unread)
    print_notice("a")
    print_notice("b")
    flush_output()
    unread.flush()


def test_a_full_disk_is_an_error(monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(OSError, match="No space left"):
            print_line("a")
        stream.flush()
