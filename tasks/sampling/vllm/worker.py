"""What runs inside vLLM's worker processes: replacing a model's weights in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tasks.policy.policy_model import tensor_checksum
from tasks.sampling.vllm.device_buffer import Entry, Handles, device_key, open_buffer, unpack
from tasks.sampling.vllm.weights import stored_tensors


class WeightUpdateWorker:
    """Methods that vLLM adds to its worker class (`worker_extension_cls`)."""

    reload_weights: Any
    model_runner: Any
    vllm_config: Any
    device: torch.device
    local_rank: int

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

    def rlscale_open_buffers(self, handles: Handles) -> None:
        """Opens the buffer of this worker's device and prepares the model for new weights.

        Raises:
            LookupError: no trainer of the group is on this device.
        """
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader.reload.layerwise import initialize_layerwise_reload

        self._weight_buffer = open_buffer(handles, device_key(self.device, self.local_rank), self.device)
        with set_current_vllm_config(self.vllm_config):
            initialize_layerwise_reload(self.model_runner.get_model())

    def rlscale_load_bucket(self, entries: list[Entry]) -> dict[str, list[int]]:
        """Loads what the buffer holds; returns the checksums of what was read."""
        from vllm.config import set_current_vllm_config

        # Copies: a layer is loaded when its last tensor is here, and by then the buffer holds the next bucket.
        tensors = [(name, view.clone()) for name, view in unpack(self._weight_buffer, entries)]
        checksums = {name: tensor_checksum(tensor) for name, tensor in tensors}
        with set_current_vllm_config(self.vllm_config):
            self.model_runner.get_model().load_weights(tensors)
        return checksums

    def rlscale_close_buffers(self) -> None:
        """Completes the model and lets go of the buffer."""
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader.reload.layerwise import finalize_layerwise_reload

        model = self.model_runner.get_model()
        with set_current_vllm_config(self.vllm_config):
            finalize_layerwise_reload(model, self.vllm_config.model_config)
        _repack_embeddings(model)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        del self._weight_buffer


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
