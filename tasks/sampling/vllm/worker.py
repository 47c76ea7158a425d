"""What runs inside vLLM's worker processes: replacing a model's weights in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tasks.policy.policy_model import tensor_checksum
from tasks.sampling.vllm.weights import stored_tensors


class WeightUpdateWorker:
    """Methods that vLLM adds to its worker class (`worker_extension_cls`)."""

    reload_weights: Any
    model_runner: Any

    def rlscale_update_weights(self, folder: str, dtype: str) -> dict[str, list[int]]:
        """Replaces the weights by a checkpoint folder's; returns the checksums of each tensor (`tensor_checksum`).

        They are taken of the tensors on their way into the model, so a stale or half-written file cannot pass for
        the right one.
        """
        checksums: dict[str, list[int]] = {}

        def tensors() -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in stored_tensors(Path(folder)):
                converted = tensor.to(getattr(torch, dtype))
                checksums[name] = tensor_checksum(converted)
                yield name, converted

        self.reload_weights(weights_iterator=tensors())
        _repack_embeddings(self.model_runner.get_model())
        return checksums


def _repack_embeddings(model: torch.nn.Module) -> None:
    """Packs the output layer's weights again after a reload on the CPU.

    In vLLM 0.32 the handle through which a (tied) embedding computes logits does not follow an in-place reload: the
    logits differ by nats from those of the new weights. Found by the probe, see `probe`.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for layer in model.modules():
        if isinstance(layer, VocabParallelEmbedding) and hasattr(layer, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(layer, remove_weight=False)
