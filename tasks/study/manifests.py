"""Work is done once, and a folder with a valid manifest is the proof.

A unit of work owns one folder. Its *fingerprint* hashes what decides the result: stage, the params that matter to it,
the digests of its inputs and the code version of its stage; never a device, a path, the clock or a tracker's address.
`once` locks the folder, returns at once where a valid manifest carries that fingerprint, otherwise runs the body and
writes the manifest last. Manifests hold no clock values, so equal work gives equal bytes.

Not covered: two machines sharing a folder over a network file system without working `flock`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
LOCK = ".lock"


def canonical_json(value: Any) -> str:
    """Returns `value` as JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def make_fingerprint(stage: str, version: str, params: Any, inputs: Mapping[str, str] | None = None) -> str:
    """Names a unit of work: 16 hex digits of SHA-256 over {stage, version, params, input digests}."""
    value = {"stage": stage, "version": version, "params": params, "inputs": dict(inputs or {})}
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_text(text: str) -> str:
    """Returns the SHA-256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is fsynced and renamed over `path`, on error removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically (temporary name, fsync, rename)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes indented, key-sorted JSON atomically. NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Returns a folder's manifest, or None where it is missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return manifest if isinstance(manifest, dict) else None


def is_complete(folder: Path, expected: str) -> bool:
    """Tells whether the folder holds finished work of this fingerprint with all its files.

    Sizes are compared, not contents: a check must stay cheap. `verify` reads every byte.
    """
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("fingerprint") != expected:
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == entry["bytes"]
        for name, entry in manifest["files"].items()
    )


def verify(folder: Path) -> list[str]:
    """Returns the names of files that are missing or differ from the manifest's digests."""
    manifest = read_manifest(folder)
    if manifest is None:
        return [MANIFEST]
    return [
        name
        for name, entry in manifest["files"].items()
        if not (folder / name).is_file() or digest_file(folder / name) != entry["sha256"]
    ]


def write_manifest(
    folder: Path, stage: str, fingerprint: str, files: list[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes the completion marker: fingerprint, size and digest of each file, and the facts downstream needs."""
    entries = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest_file(folder / name)} for name in sorted(files)
    }
    manifest = {"stage": stage, "fingerprint": fingerprint, "files": entries, **facts}
    write_json(folder / MANIFEST, manifest)
    return manifest


def manifest_digest(folder: Path) -> str:
    """Digest of what a folder contains, for the fingerprints downstream.

    It is the manifest's `content` where the stage gives one (a digest that leaves out what may differ between equal
    runs, such as seconds), else the manifest's own text; `missing` where there is no manifest.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return "missing"
    return str(manifest["content"]) if "content" in manifest else digest_file(folder / MANIFEST)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the kernel frees it when the process dies, however it dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def once(
    folder: Path, stage: str, fingerprint: str, body: Callable[[], tuple[list[str], Mapping[str, Any]]]
) -> tuple[dict[str, Any], bool]:
    """Does a unit of work unless its folder proves it done.

    Args:
        folder: the folder the work owns; `body` writes below it only.
        stage: the stage's name, recorded in the manifest.
        fingerprint: the fingerprint of the work.
        body: does the work and returns (names of its files relative to `folder`, facts for the manifest).

    Returns:
        The manifest, and whether the body ran.
    """
    with folder_lock(folder):
        if is_complete(folder, fingerprint):
            manifest = read_manifest(folder)
            assert manifest is not None
            return manifest, False
        (folder / MANIFEST).unlink(missing_ok=True)
        files, facts = body()
        return write_manifest(folder, stage, fingerprint, files, facts), True


def is_locked(folder: Path) -> bool:
    """Whether a live process holds the folder's lock."""
    try:
        with (folder / LOCK).open("r") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
