"""Messages between the pool, the fork server and the workers: a length, then JSON (lone surrogates survive it)."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

# What the pool tells its fork server (a verb and a number), and what comes back with a worker's socket.
MESSAGE = struct.Struct("!cI")
PID = struct.Struct("!I")
_LENGTH = struct.Struct("!I")


def encode(value: Any) -> bytes:
    """Returns a value as one framed message."""
    body = json.dumps(value).encode("ascii")
    return _LENGTH.pack(len(body)) + body


def receive(connection: socket.socket) -> Any:
    """Returns the next message. Raises EOFError when the other side is gone."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return json.loads(_exactly(connection, length))


def _exactly(connection: socket.socket, count: int) -> bytes:
    chunks = []
    while count:
        chunk = connection.recv(min(count, 1 << 20))
        if not chunk:
            raise EOFError("the other side closed the connection")
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)
