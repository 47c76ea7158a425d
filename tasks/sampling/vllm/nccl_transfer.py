"""Weights from a trainer's GPU to a server on GPUs of its own, by vLLM's weight-transfer interface over NCCL.

The weights are broadcast by the one process that holds them whole; the HTTP interface only coordinates. The server is
started with `--weight-transfer-config '{"backend": "nccl"}'`. Written against vLLM 0.32
(`vllm.distributed.weight_transfer`) and not run on a GPU yet; what surrounds the transfer is tested without one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

from tasks.sampling.vllm.server_http import Server


class StateDictSource(WeightSource):
    """A state dict that is already whole on this device; replaced before each transfer."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes the first state dict, whose names and shapes all later ones share."""
        self.tensors = dict(tensors)

    def metadata(self) -> list[ParamMeta]:
        """Names, dtypes and shapes in the order of iteration."""
        return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.tensors.items()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors."""
        yield from self.tensors.items()


class HttpClient:
    """vLLM's control interface over a server's routes, with the token and the retries of `server_http`."""

    def __init__(self, server: Server) -> None:
        """Takes the server."""
        self._server = server

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Prepares the workers."""
        self._server.post("/init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        """Opens an update."""
        self._server.post("/start_weight_update", {})

    def update_weights(self, update_info: Any) -> None:
        """Announces what is broadcast."""
        self._server.post("/update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Closes the update."""
        self._server.post("/finish_weight_update", {"weight_version": weight_version})


class Transfer:
    """A connection to vLLM's workers, opened once and used after every step."""

    def __init__(self, source: StateDictSource, engine: Any) -> None:
        """Takes what `nccl_transfer` opened."""
        self._source = source
        self._engine = engine

    def send(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Replaces vLLM's weights by a whole state dict on this device."""
        self._source.tensors = dict(tensors)
        self._engine.send_weights()


def nccl_transfer(server: Server, tensors: Mapping[str, torch.Tensor]) -> Transfer:
    """Opens the connection to a server; called by the one process that holds the whole weights."""
    from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

    source = StateDictSource(tensors)
    workers = int(server.get("/get_world_size")["world_size"])
    info = NCCLTrainerInitInfo(
        rank=0, master_address=_own_address(server.url), master_port=_free_port(), world_size=1 + workers
    )
    return Transfer(source, WeightTransferTrainerFactory.trainer_init(info, client=HttpClient(server), source=source))


def _own_address(url: str) -> str:
    """This machine's address on the network the server is reached by."""
    host, _, port = url.partition("://")[2].partition("/")[0].partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, int(port or 80)))
        return str(probe.getsockname()[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
