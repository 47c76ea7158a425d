"""Confines a process to a few folders with Landlock (Linux >= 5.13, no privileges needed).

Everything on disk is closed except: read below the given folders, read and write below one. Stand-alone (standard
library only): the sandboxed interpreter imports it.

Not covered: attributes (owner, mode, times), which Landlock leaves alone; the system-call filter refuses those.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_ASK_VERSION = 1
_READ = (1 << 2) | (1 << 3)
_FILE_ONLY = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14)
# Access rights known to each version of the interface: 13 in the first, REFER in the second, TRUNCATE in the third.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1}
_RIGHTS_LATER = (1 << 15) - 1


def confine(readable: Sequence[str], writable: str) -> bool:
    """Confines this process permanently. Returns False, with nothing changed, where the kernel has no Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:
        return False
    rights = _RIGHTS.get(version, _RIGHTS_LATER)
    handled = struct.pack("Q", rights)
    ruleset = libc.syscall(_CREATE_RULESET, handled, len(handled), 0)
    if ruleset < 0:
        return False
    for path in readable:
        _allow(libc, ruleset, path, _READ)
    _allow(libc, ruleset, writable, rights)
    set_no_new_privs = 38
    done = libc.prctl(set_no_new_privs, 1, 0, 0, 0) == 0 and libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return done


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        granted = rights if os.path.isdir(path) else rights & _FILE_ONLY
        rule = struct.pack("=Qi", granted, folder)
        if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock refused a rule for {path}")
    finally:
        os.close(folder)
