"""A server of our own, whose weights a trainer or an evaluation replaces (`hardware.vllm.mode: server`).

On the server's machine the weights go through a memory-backed folder. The server is started with

    VLLM_SERVER_DEV_MODE=1 python -m vllm.entrypoints.openai.api_server CHECKPOINT --generation-config vllm \\
        --worker-extension-cls tasks.sampling.vllm.worker.WeightUpdateWorker

so that it has the routes `/collective_rpc` and `/reset_prefix_cache` and knows `rlscale_update_weights`. Such a
server trusts whoever reaches it: bind it to a private address. From a GPU the weights go over NCCL, see
`nccl_transfer`; there they must fit whole beside the trainer's part.

One process holds the server: where a trainer is several, `tasks.train.run_engine` gathers their requests and weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tasks.policy.policy_model import weights_digest
from tasks.sampling.protocol import Completion, GenerationBatch
from tasks.sampling.vllm.probe import LogprobProbe
from tasks.sampling.vllm.requests import stop_token_ids
from tasks.sampling.vllm.server_client import ServerEngine
from tasks.sampling.vllm.server_http import RequestRejected
from tasks.sampling.vllm.staging import Staging, check_checksums
from tasks.sampling.vllm.weights import state_dict
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.sampling.vllm.nccl_transfer import Transfer


class UpdatableServerEngine(ServerEngine):
    """A server that takes new weights; see `tasks.sampling.protocol.Engine`."""

    def __init__(self, url: str, checkpoint: Path, precision: str, first_delay: float | None = None) -> None:
        """Connects; the server gets the checkpoint's weights before it samples, unless others come first.

        Args:
            url: the server's.
            checkpoint: a transformers checkpoint of the architecture the server was started with.
            precision: the server's dtype, float32 or bfloat16.
            first_delay: seconds before a failed request is repeated.

        Raises:
            InputError: the server does not answer.
        """
        super().__init__(url, first_delay)
        self._precision, self._dtype = precision, getattr(torch, precision)
        self._staging = Staging(checkpoint, None)
        self._probe = LogprobProbe(self._staging.config, self._context, self._dtype)
        self._transfer: Transfer | None = None
        self._stops = stop_token_ids(checkpoint)
        self._unsent: Path | None = checkpoint

    def load(self, checkpoint: Path) -> str:
        """Replaces the weights by a checkpoint's; returns `fingerprint()`. Raises as `update`."""
        self._staging.check_architecture(checkpoint)
        self._stops = stop_token_ids(checkpoint)
        return self.update(state_dict(checkpoint, self._dtype).items())

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
        """Replaces the weights by these named tensors, a whole transformers state dict; returns the fingerprint.

        Raises:
            InputError: the server does not answer or has no route for new weights.
            StaleWeights: the update is not whole, or the server's workers read something else.
            ProbeFailed: the server computes something else.
        """
        tensors = {name: tensor.detach().to(self._dtype) for name, tensor in weights}
        self._staging.check_complete({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        self._fingerprint = weights_digest(tensors)
        try:
            self._replace(tensors)
        except RequestRejected as error:
            raise InputError(
                f"{error}; start the server with VLLM_SERVER_DEV_MODE=1 and "
                "--worker-extension-cls tasks.sampling.vllm.worker.WeightUpdateWorker"
            ) from None
        self._unsent = None
        return self._fingerprint

    def stream(self, batches: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
        """Samples batches with the weights that came last; see `server_client`."""
        self._send_first()
        yield from super().stream(batches)

    def _send_first(self) -> None:
        if self._unsent is not None:
            self.load(self._unsent)

    def _replace(self, tensors: Mapping[str, torch.Tensor]) -> None:
        if all(tensor.is_cuda for tensor in tensors.values()):
            from tasks.sampling.vllm.nccl_transfer import nccl_transfer

            if self._transfer is None:
                self._transfer = nccl_transfer(self.server, tensors)
            self._transfer.send(tensors)
        else:
            expected = self._staging.write(tensors)
            arguments = [str(self._staging.folder), self._precision]
            answer = self.server.post("/collective_rpc", {"method": "rlscale_update_weights", "args": arguments})
            check_checksums(answer["results"], expected)
        self.server.post("/reset_prefix_cache", {})
        self._probe.check(self._score_probe(), tensors if self._staging.is_small else None, self._fingerprint)

    def _score_probe(self) -> list[float]:
        """Log-probabilities of the probe's tokens, as the server computes them now."""
        tokens = list(self._probe.tokens)
        body = {"model": self.model["id"], "prompt": tokens, "max_tokens": 1, "prompt_logprobs": 0, "temperature": 0.0}
        rows = self.server.post("/v1/completions", body)["choices"][0]["prompt_logprobs"]
        return [row[str(token)]["logprob"] for row, token in zip(rows[1:], tokens[1:], strict=True)]

    def fingerprint(self) -> str:
        """Digest of the weights the server has now, equal to the other engines'."""
        self._send_first()
        return self._fingerprint

    def close(self) -> None:
        """Removes the staged weights; the server keeps running."""
        self._staging.remove()
