"""The policy: a causal language model that maps a packed batch to log-probabilities of its completions.

One `nn.Module`, so that DistributedDataParallel, FSDP2 and adapters wrap it whole and its forward pass is the only
way in. The weights are an ordinary transformers model; only attention and the output layer are ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tasks.policy.attention import NAME
from tasks.policy.logprobs import HeadOptions, token_logprobs
from tasks.policy.packing import PackedBatch
from tasks.study.errors import InputError

_COLUMNS = 1024
_TABLE_BYTES = 8 * _COLUMNS


class Policy(torch.nn.Module):
    """A causal language model over packed batches."""

    def __init__(self, model: PreTrainedModel, float32_head: bool = False) -> None:
        """Takes over a model and switches its attention to `packed`.

        Args:
            model: the model.
            float32_head: whether the output layer's products are float32 whatever the precision of the layers.
        """
        super().__init__()
        self._plain_attention = model.config._attn_implementation
        model.set_attn_implementation(NAME)
        self.model = model
        self.float32_head = float32_head

    def forward(self, packed: PackedBatch, temperature: float = 1.0, with_entropy: bool = False) -> torch.Tensor:
        """Computes a packed batch.

        Returns:
            float32 [R]: the log-probability of each completion token, completion after completion; with entropies
            [2, R], log-probabilities and the entropy of each token's distribution, nats.
        """
        hidden = self.model.model(
            input_ids=packed.input_ids[None],
            position_ids=packed.position_ids[None],
            attention_mask={"full_attention": None},
            use_cache=False,
            packed=packed,
        ).last_hidden_state[0]
        rows = hidden.index_select(0, packed.logit_rows)
        options = HeadOptions(temperature, self.float32_head, with_entropy)
        return token_logprobs(rows, self.model.lm_head.weight, packed.targets, options)

    @torch.no_grad()
    def plain_logprobs(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of all tokens but the first by the model's own forward pass, nothing of ours in it.

        Args:
            tokens: int64 [T], one sequence.

        Returns:
            float32 [T - 1].
        """
        self.model.set_attn_implementation(self._plain_attention)
        try:
            logits = self.model(input_ids=tokens[None], use_cache=False).logits[0, :-1].float()
        finally:
            self.model.set_attn_implementation(NAME)
        return logits.log_softmax(-1).gather(1, tokens[1:, None])[:, 0]


def load_model(checkpoint: Path, precision: Literal["float32", "bfloat16"]) -> PreTrainedModel:
    """Loads a checkpoint from disk.

    Raises:
        InputError: there is no loadable checkpoint.
    """
    if not (checkpoint / "config.json").is_file():
        raise InputError(f"{checkpoint}: no checkpoint (config.json is missing); run `rlscale pretrain` first")
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=getattr(torch, precision), local_files_only=True)


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Returns (all parameters, non-embedding parameters); tied embeddings count once in the first."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    head = getattr(model, "lm_head", None)
    if head is not None:
        embeddings |= {id(p) for p in head.parameters()}
    sizes = {id(p): p.numel() for p in model.parameters()}
    return sum(sizes.values()), sum(size for key, size in sizes.items() if key not in embeddings)


def weights_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Digest of weights: two weighted sums over each tensor's bits, cheap on any device.

    Equal weights give equal digests on every device; a changed bit changes it with near certainty. It is a check
    against stale or partial updates, not against forgery.
    """
    return combine_checksums({name: tensor_checksum(tensor) for name, tensor in tensors.items()})


def tensor_checksum(tensor: torch.Tensor) -> list[int]:
    """The two sums of one tensor's bits, for callers that see the tensors one at a time.

    The bits are read as 64-bit words w_0, w_1, ..., zeros after the last: sum w_i and sum (i + 1) w_i, modulo 2^64. The
    second one is put together from the sums of rows and columns of a table of words, so no copy of the tensor is made.
    """
    data = tensor.detach().contiguous().flatten().view(torch.uint8)
    if data.storage_offset() % 8:
        data = data.clone()
    whole = data.numel() // _TABLE_BYTES * _TABLE_BYTES
    sums = _table_sums(data[:whole].view(torch.int64).view(-1, _COLUMNS), 0)
    if whole < data.numel():
        rest = torch.nn.functional.pad(data[whole:], (0, _TABLE_BYTES - data.numel() + whole))
        sums = sums + _table_sums(rest.view(torch.int64).view(1, _COLUMNS), whole // _TABLE_BYTES)
    return [int(value) for value in sums.tolist()]


def _table_sums(table: torch.Tensor, first_row: int) -> torch.Tensor:
    """Sum of the words of some rows, and their sum weighted by position; int64 [2], wrapping around."""
    rows, columns = table.sum(1), table.sum(0)
    row_numbers = torch.arange(first_row, first_row + len(rows), device=table.device)
    column_numbers = torch.arange(1, _COLUMNS + 1, device=table.device)
    return torch.stack((rows.sum(), _COLUMNS * (rows * row_numbers).sum() + (columns * column_numbers).sum()))


def combine_checksums(sums: Mapping[str, list[int]]) -> str:
    """The digest of a whole set of weights from the sums of each."""
    digest = hashlib.sha256()
    for name in sorted(sums):
        digest.update(f"{name}:{sums[name]}\n".encode())
    return digest.hexdigest()[:16]
