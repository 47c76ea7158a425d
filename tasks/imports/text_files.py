"""Opens text as people have it: gzip, byte-order marks, UTF-16, Latin-1, terminal colors, standard input."""

from __future__ import annotations

import gzip
import re
import sys
from functools import lru_cache
from pathlib import Path

from tasks.study.errors import InputError

STDIN = Path("-")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@lru_cache(maxsize=1)
def _stdin_bytes() -> bytes:
    """Standard input whole; kept, because a format is recognized before it is read."""
    return sys.stdin.buffer.read()


def read_text(path: Path) -> str:
    """The text of a file, `-` for standard input, unpacked where it is gzip, without terminal colors.

    Raises:
        InputError: no such file, a damaged gzip file, or bytes that are no text.
    """
    try:
        raw = _stdin_bytes() if path == STDIN else path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "\0" in text[:4096]:
        raise InputError(f"{path}: expected a text file, found binary data")
    return ANSI.sub("", text) if "\x1b" in text else text
