"""Published checkpoints: resolved at a pinned revision, counted exactly, never copied.

The folder of a model holds `model.json` alone, which says where the snapshot lies in the hub cache; the weights stay
there. A local folder may stand for a repository (no revision then), also as `package:NAME`; its files' digests stand
for the revision. A folder with a GGUF file alone is converted, and the model's folder holds the checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.pretrain.gguf_models import convert, gguf_in, local_folder
from tasks.study.errors import InputError
from tasks.study.fingerprints import model_fingerprint
from tasks.study.grid import model_spec
from tasks.study.manifests import digest_file, digest_text, once, write_json
from tasks.study.params import HubModel, Params
from tasks.study.paths import StudyPaths

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")


def resolve_hub_model(params: Params, name: str) -> dict[str, Any]:
    """Resolves a model of the family unless its folder proves it done; returns the manifest.

    Raises:
        InputError: no revision is pinned, or the snapshot can neither be found nor fetched.
    """
    spec, variant = model_spec(params, name)
    assert isinstance(spec, HubModel)
    repository: str = getattr(spec, variant)
    revision: str | None = getattr(spec, f"{variant}_revision")
    folder = StudyPaths.of(params).model(name)

    def body() -> tuple[list[str], dict[str, Any]]:
        local = local_folder(repository)
        facts: dict[str, Any] = {"name": name, "size": spec.name, "variant": variant, "nominal": spec.nominal}
        if local is not None and (file := gguf_in(local)) is not None:
            files, digest = convert(file, folder), digest_file(file)
            total, n_params = count_parameters_from_config(folder)
            return files, facts | {"total": total, "n_params": n_params, "digest": digest, "content": digest}
        snapshot = local or _snapshot(repository, revision)
        total, n_params = count_parameters_from_config(snapshot)
        write_json(folder / "model.json", {"snapshot": str(snapshot), "repository": repository, "revision": revision})
        facts |= {"path": str(snapshot)}
        digest = digest_text(revision or _digests(snapshot))
        return [], facts | {"total": total, "n_params": n_params, "digest": digest, "content": digest}

    return once(folder, "pretrain", model_fingerprint(params, name), body)[0]


def _snapshot(repository: str, revision: str | None) -> Path:
    """Finds or fetches a snapshot; downloads resume and are checked by the hub client."""
    if revision is None:
        raise InputError(f"pretrain.family: {repository} has no pinned revision; give its 40-digit commit")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(PATTERNS)))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"pretrain.family: {repository} at {revision} cannot be fetched ({type(error).__name__}); "
            "download that snapshot into the hub cache, or name a local folder instead of the repository"
        ) from None


def count_parameters_from_config(snapshot: Path) -> tuple[int, int]:
    """Counts (all, non-embedding) parameters from the checkpoint's config alone, on the meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tasks.policy.policy_model import count_parameters

    config = AutoConfig.from_pretrained(snapshot, local_files_only=True)
    with torch.device("meta"):
        return count_parameters(AutoModelForCausalLM.from_config(config))


def _digests(snapshot: Path) -> str:
    files = sorted(path for pattern in PATTERNS for path in snapshot.glob(pattern))
    return "\n".join(f"{path.name} {digest_file(path)}" for path in files)
