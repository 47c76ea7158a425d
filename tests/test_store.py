"""Work is done once, and only a whole folder proves it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.study.manifests import (
    atomic_path,
    is_complete,
    make_fingerprint,
    manifest_digest,
    once,
    read_manifest,
    verify,
    write_json,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def _write(folder: Path, text: str = "work") -> tuple[list[str], Mapping[str, Any]]:
    (folder / "result.txt").write_text(text)
    return ["result.txt"], {"answer": 42}


def test_work_is_done_once_and_again_after_its_fingerprint_changes(tmp_path: Path) -> None:
    manifest, ran = once(tmp_path, "fit", "a", lambda: _write(tmp_path))
    assert (manifest["answer"], ran) == (42, True)
    assert once(tmp_path, "fit", "a", lambda: _write(tmp_path))[1] is False
    assert once(tmp_path, "fit", "b", lambda: _write(tmp_path))[1] is True


@pytest.mark.parametrize("harm", ["delete the file", "cut the file", "delete the marker", "cut the marker"])
def test_a_damaged_folder_is_done_again(harm: str, tmp_path: Path) -> None:
    once(tmp_path, "fit", "a", lambda: _write(tmp_path))
    victim = tmp_path / ("result.txt" if "file" in harm else "manifest.json")
    if harm.startswith("delete"):
        victim.unlink()
    else:
        victim.write_text(victim.read_text()[:-2])
    assert not is_complete(tmp_path, "a")
    assert once(tmp_path, "fit", "a", lambda: _write(tmp_path))[1] is True


def test_work_that_fails_leaves_no_marker(tmp_path: Path) -> None:
    once(tmp_path, "fit", "a", lambda: _write(tmp_path))

    def fail() -> tuple[list[str], Mapping[str, Any]]:
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        once(tmp_path, "fit", "b", fail)
    assert read_manifest(tmp_path) is None


def test_verify_names_a_file_whose_bytes_changed_at_equal_size(tmp_path: Path) -> None:
    once(tmp_path, "fit", "a", lambda: _write(tmp_path, "work"))
    assert verify(tmp_path) == []
    (tmp_path / "result.txt").write_text("krow")
    assert is_complete(tmp_path, "a")
    assert verify(tmp_path) == ["result.txt"]


def test_an_atomic_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def interrupted() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_json_refuses_values_that_are_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})


@given(params=JSON, other=JSON)
def test_fingerprints_are_equal_for_equal_values_only(params: Any, other: Any) -> None:
    fingerprint = make_fingerprint("train", "1", params, {"a": "1"})
    assert fingerprint == make_fingerprint("train", "1", params, {"a": "1"})
    assert fingerprint != make_fingerprint("train", "2", params, {"a": "1"})
    assert fingerprint != make_fingerprint("train", "1", params, {"a": "2"})
    if params != other:
        assert fingerprint != make_fingerprint("train", "1", other, {"a": "1"})


def test_a_manifests_content_digest_stands_for_the_folder(tmp_path: Path) -> None:
    assert manifest_digest(tmp_path) == "missing"
    once(tmp_path, "train", "a", lambda: (_write(tmp_path)[0], {"content": "same"}))
    assert manifest_digest(tmp_path) == "same"


def _slow_work(folder: Path, log: Path) -> None:
    def body() -> tuple[list[str], Mapping[str, Any]]:
        with log.open("a") as file:
            file.write("ran\n")
        time.sleep(0.3)
        return _write(folder)

    once(folder, "fit", "a", body)


@pytest.mark.slow
def test_two_processes_do_one_piece_of_work_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "work", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_slow_work, args=(folder, log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert log.read_text() == "ran\n"
