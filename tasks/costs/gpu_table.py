"""GPUs: peak FLOP/s, memory and price from the dated table `gpus.toml`, and how many a size needs.

Memory of a training run in bytes per parameter: bf16 weights 2 + bf16 gradients 2 + fp32 master weights 4 + Adam
moments 8 = 16, the reference policy 2 and the rollout engine's copy 2: 20 in all, sharded over the GPUs of the run. A
fifth of every GPU is left for activations, caches and fragmentation. GPUs are counted in powers of two, as sharding
wants them. Checked against the published runs (80 GB): 7B 4, 14B 8, 32B 16, 72B 32 GPUs.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.study.errors import InputError

BYTES_PER_PARAMETER = 20.0
USABLE_FRACTION = 0.8
_TABLE = Path(__file__).with_name("gpus.toml")


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU.

    Attributes:
        key: as on the command line.
        name: in words.
        peak_flops: dense bf16 FLOP/s.
        memory_gb: 10^9 bytes.
        usd_per_hour: price of one GPU for an hour.
        as_of: month of the table.
        bandwidth: bytes per second of its memory.
    """

    key: str
    name: str
    peak_flops: float
    memory_gb: float
    usd_per_hour: float
    as_of: str
    bandwidth: float = 3.35e12


def find_gpu(key: str, table: Path | None = None, price: float | None = None) -> Gpu:
    """Looks a GPU up.

    Args:
        key: e.g. h100.
        table: a TOML file in the form of `gpus.toml`; None: that file.
        price: USD per hour, instead of the table's.

    Raises:
        InputError: no such file or GPU, or a table that is not of the form.
    """
    path = table or _TABLE
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such GPU table") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from None
    gpus = sorted(name for name, entry in raw.items() if isinstance(entry, dict))
    entry = raw.get(key.lower())
    if not isinstance(entry, dict):
        raise InputError(f"{path}: no GPU {key!r}, expected one of {', '.join(gpus)}")
    if price is not None and price <= 0:
        raise InputError(f"--price: expected a positive number, found {price:g}")
    peak, memory, list_price = (
        _positive(path, key, entry, name) for name in ("peak_flops", "memory_gb", "usd_per_hour")
    )
    # A table from before bandwidth was asked for: as an H100's, in proportion to peak.
    bandwidth = _positive(path, key, entry, "bandwidth") if "bandwidth" in entry else 3.35e12 * peak / 989e12
    as_of = str(raw.get("as_of", "unknown"))
    return Gpu(key.lower(), str(entry.get("name", key)), peak, memory, price or list_price, as_of, bandwidth)


def gpu_keys(table: Path | None = None) -> list[str]:
    """Names of the GPUs of a table, in its order."""
    raw = tomllib.loads((table or _TABLE).read_text(encoding="utf-8"))
    return [name for name, entry in raw.items() if isinstance(entry, dict)]


def peak_of_device(device: str) -> float | None:
    """Dense bf16 FLOP/s of a device by the name its driver gives, None where the table does not list that name."""
    raw = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    entries = [entry for entry in raw.values() if isinstance(entry, dict)]
    return next((float(entry["peak_flops"]) for entry in entries if device in entry.get("devices", ())), None)


def _positive(path: Path, key: str, entry: dict[str, Any], name: str) -> float:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise InputError(f"{path}: {key}.{name} must be a positive number, found {value!r}")
    return float(value)


def gpus_needed(n: float, gpu: Gpu) -> int:
    """Fewest GPUs, a power of two, whose memory holds a training run of n parameters."""
    needed, count = n * BYTES_PER_PARAMETER, 1
    while needed > count * gpu.memory_gb * 1e9 * USABLE_FRACTION:
        count *= 2
    return count
