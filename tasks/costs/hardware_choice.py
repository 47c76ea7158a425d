"""Values for the by-size keys of the hardware block that are null, from the memory estimate.

The engine first: as few devices as hold the weights and `VLLM_SEQUENCES` sequences of full length, and all the memory
that the trainer leaves it during rollouts. Then the update: no recomputation where `ENOUGH_ROWS` rows fit without, and
as many rows as fit up to `MOST_ROWS`, or to what a minibatch has for a device. On a CPU the engine is left alone, and
rows and sequences are the keys' usual values or, where these do not fit, as many as do.
"""

from __future__ import annotations

from tasks.costs.memory import (
    GIB,
    USABLE_FRACTION,
    Devices,
    cache_bytes,
    estimate,
    longest_sequence,
    precision_bytes,
    vllm_bytes,
)
from tasks.costs.model_shape import ModelShape
from tasks.study.errors import InputError
from tasks.study.params import Params, SizedHardware
from tasks.study.params.hardware import GENERATION_BATCH, TOKEN_BUDGET, of_size

VLLM_SEQUENCES = 16
"""Sequences of full length that a vLLM engine must be able to hold besides the weights."""
MOST_SHARE = 0.8
"""Largest part of a device that an engine beside a trainer is given."""
ENOUGH_ROWS, MOST_ROWS, ROWS = 16384, 32768, 1024
"""Rows of a micro-batch that keep a GPU busy; the most that are chosen; the steps they are chosen in."""


def choose_hardware(params: Params, size: str, shape: ModelShape, devices: Devices) -> SizedHardware:
    """A run's hardware block: given values as they are, nulls chosen.

    A run that cannot fit gets values all the same; `require_fit` refuses it.

    Raises:
        InputError: vLLM's part does not hold the model, or its devices cannot share the model's heads.
    """
    hardware = params.hardware.of_size(size)
    if devices.gpu and params.train.engine == "vllm" and hardware.vllm.mode == "colocate":
        hardware = _with_engine(params, hardware, shape, devices)
    hardware = _with_update(params, hardware, size, shape, devices)
    if of_size(params.hardware.generation_batch, size) is None:
        hardware = _with_generation(params, hardware, shape, devices)
    return hardware


def _with_engine(params: Params, hardware: SizedHardware, shape: ModelShape, devices: Devices) -> SizedHardware:
    """Chooses tensor parallelism and memory share. Raises as `choose_hardware`."""
    local = min(devices.count, devices.per_node)
    given = hardware.vllm.tensor_parallel
    heads = shape.architecture.num_attention_heads
    if given is not None and (local % given or heads % given):
        raise InputError(
            f"hardware.vllm.tensor_parallel is {given}, which must divide a machine's {local} devices and the model's "
            f"{heads} heads"
        )
    width = precision_bytes(params)
    needed = width * shape.total + cache_bytes(shape, VLLM_SEQUENCES * longest_sequence(params), width)
    tried = hardware
    for parallel in [given] if given else [n for n in (1, 2, 4, 8) if not local % n and not heads % n]:
        vllm = hardware.vllm.model_copy(update={"tensor_parallel": parallel})
        tried = hardware.model_copy(update={"vllm": vllm})
        if vllm.memory_share is None:
            share = _largest_share(params, tried, shape, devices)
            tried = tried.model_copy(update={"vllm": vllm.model_copy(update={"memory_share": share})})
        if needed / parallel <= USABLE_FRACTION * vllm_bytes(tried, devices):
            return tried
    raise InputError(
        f"vLLM's part of {vllm_bytes(tried, devices) / GIB:.3g} GiB on each of {local} devices does not hold the "
        f"model's {width * shape.total / GIB:.3g} GiB; raise hardware.vllm.memory_share or hardware.gpus_per_run, or "
        "use hardware.vllm.mode server"
    )


def _largest_share(params: Params, hardware: SizedHardware, shape: ModelShape, devices: Devices) -> float:
    """What the trainer leaves an engine during rollouts, in hundredths of the device."""
    free = devices.usable - sum(estimate(params, hardware, shape, devices).resident.values())
    return max(0.0, min(MOST_SHARE, int(100 * free / devices.capacity) / 100))


def _with_update(
    params: Params, hardware: SizedHardware, size: str, shape: ModelShape, devices: Devices
) -> SizedHardware:
    """Chooses the token budget and whether layers are recomputed."""
    given = params.hardware
    budget = of_size(given.token_budget, size)
    recomputed = of_size(given.gradient_checkpointing, size)
    options = [recomputed] if recomputed is not None else [False, True]
    counts = [budget] if budget else _row_counts(params, devices)
    for on in options:
        enough = 0 if on is options[-1] else min(ENOUGH_ROWS, counts[0])
        for rows in (rows for rows in counts if rows >= enough):
            tried = hardware.model_copy(update={"gradient_checkpointing": on, "token_budget": rows})
            if estimate(params, tried, shape, devices).needed <= devices.usable:
                return tried
    return hardware.model_copy(update={"gradient_checkpointing": options[-1], "token_budget": counts[-1]})


def _row_counts(params: Params, devices: Devices) -> list[int]:
    """Token budgets to try, largest first, down to one sequence.

    On GPUs from what a minibatch has for a device, or `MOST_ROWS`; on a CPU from `TOKEN_BUDGET`, so that a result does
    not depend on the machine where that much fits.
    """
    least, train = longest_sequence(params), params.train
    if not devices.gpu:
        return [*range(TOKEN_BUDGET, least, -ROWS), least]
    share = least * -(-train.minibatch * train.group_size // devices.count)
    return [*range(min(MOST_ROWS, share) // ROWS * ROWS, least, -ROWS), least]


def _with_generation(params: Params, hardware: SizedHardware, shape: ModelShape, devices: Devices) -> SizedHardware:
    """Chooses how many sequences are decoded together: an engine's part of a rollout batch, if its cache fits."""
    total = params.train.batch * params.train.group_size
    part = -(-total // devices.count) * (hardware.vllm.tensor_parallel or 1)
    most = min(GENERATION_BATCH, part) if devices.gpu else GENERATION_BATCH
    while most > 1:
        tried = hardware.model_copy(update={"generation_batch": most})
        if estimate(params, tried, shape, devices).needed <= devices.usable:
            return tried
        most //= 2
    return hardware.model_copy(update={"generation_batch": 1})
