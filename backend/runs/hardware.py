"""Machines as a plan names them, `8xA100-80G`, `cpu:16x2.5GHz` or four nodes `4x8xA100-80G`: memory, rate and price of
each device. No torch here.

Rates are those of matrix products in half precision without sparsity, as the vendors' data sheets state them (NVIDIA:
V100 2017, T4 2018, A100 2020, A30 and A40 2021, A10 2021, RTX A6000 2021, H100 SXM 2022, L4 and L40S 2023, H200 2024,
B200 2024, GeForce RTX 3090 and 4090 from the architecture papers, with sums in float32; AMD: MI250X 2021, MI300X 2023).
What a program reaches is a share of them, which a plan takes as an assumption. Prices are round figures of what clouds
asked for one device and hour, low and high, in US dollars: assumptions too, to be replaced by one's own.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from ..errors import BadInput

GB = 10**9
PEAK_SHARE = 0.35  # of the peak rate that is assumed to be reached, unless said otherwise
PER_CYCLE = 32  # float32 operations that a core with AVX2 does in a cycle: two multiply-adds of eight numbers
CPU_MEMORY = 4 * GB  # per core, where nothing is said
CPU_PRICE = (0.03, 0.06)  # per core and hour
MOST = 100_000  # devices, cores


@dataclass(frozen=True)
class Device:
    """One kind of device. Rates in operations per second; a product of two numbers and its sum are two."""

    name: str
    memory: int  # bytes
    half: float  # peak rate of matrix products in bfloat16, or in float16 where there is no bfloat16
    single: float  # in float32, as torch multiplies by default: without TF32
    price: tuple[float, float]  # US dollars per hour


@dataclass(frozen=True)
class Hardware:
    """So many devices of one kind in a machine, and so many such machines."""

    n: int
    device: Device
    nodes: int = 1

    @property
    def on_gpu(self) -> bool:
        return not self.device.name.lower().startswith("cpu:")

    def __str__(self) -> str:
        each = f"{self.n}x{self.device.name}" if self.on_gpu else self.device.name
        return each if self.nodes == 1 else f"{self.nodes}x{each}"


# name: sizes of memory in GB, rate in half precision and in float32 in 10^12 per second, dollars per hour
_GPUS: dict[str, tuple[tuple[int, ...], float, float, tuple[float, float]]] = {
    "V100": ((16, 32), 125, 15.7, (0.5, 3.1)),
    "T4": ((16,), 65, 8.1, (0.2, 0.6)),
    "A10": ((24,), 125, 31.2, (0.5, 1.2)),
    "A30": ((24,), 165, 10.3, (0.5, 1.2)),
    "A40": ((48,), 149.7, 37.4, (0.4, 1.3)),
    "A6000": ((48,), 154.8, 38.7, (0.5, 1.3)),
    "A100": ((40, 80), 312, 19.5, (1.1, 4.1)),
    "L4": ((24,), 121, 30.3, (0.4, 1.0)),
    "L40S": ((48,), 362, 91.6, (0.8, 2.0)),
    "RTX3090": ((24,), 71, 35.6, (0.2, 0.6)),
    "RTX4090": ((24,), 165, 82.6, (0.3, 0.8)),
    "H100": ((80,), 989, 67, (2.0, 7.0)),
    "H200": ((141,), 989, 67, (2.5, 8.0)),
    "B200": ((180,), 2250, 80, (4.0, 10.0)),
    "MI250X": ((128,), 383, 47.9, (1.5, 3.0)),
    "MI300X": ((192,), 1307, 163.4, (2.0, 6.0)),
}
_GPU = re.compile(r"(?:(\d{1,7})x)?([A-Za-z]+\d+[A-Za-z]*)(?:-(\d{1,4})GB?)?", re.IGNORECASE)
_CPU = re.compile(r"cpu:(\d{1,7})x(\d{1,2}(?:\.\d{1,3})?)GHz(?:-(\d{1,6})GB?)?", re.IGNORECASE)
_NODES = re.compile(r"(\d{1,7})x(?=\d+x[a-z]|cpu:)", re.IGNORECASE)
FORMS = ("8xA100-80G (so many devices, kind, memory), cpu:16x2.5GHz-64G (cores, clock, memory), or so many such nodes: "
         "4x8xA100-80G")


def parse(text: str) -> Hardware:
    """What a text such as `8xA100-80G`, `cpu:16x2.5GHz-64G` or `4x8xA100-80G` names.

    Raises:
        BadInput: says what is known.
    """
    if nodes := _NODES.match(text.strip()):
        node = text.strip()[nodes.end():]
        if _NODES.match(node):
            raise BadInput(f"'{text[:60]}' is no machine. Write for instance {FORMS}.")
        return replace(parse(node), nodes=_within(text, int(nodes[1])))
    if cpu := _CPU.fullmatch(text.strip()):
        cores, clock = _within(text, int(cpu[1])), float(cpu[2])
        if not clock:
            raise BadInput(f"'{text[:60]}' is no machine: its clock stands still. Write for instance {FORMS}.")
        memory = int(cpu[3]) * GB if cpu[3] else cores * CPU_MEMORY
        rate = cores * clock * GB * PER_CYCLE
        price = (cores * CPU_PRICE[0], cores * CPU_PRICE[1])
        return Hardware(1, Device(text.strip(), memory, rate, rate, price))  # half precision gains nothing for sure
    if not (found := _GPU.fullmatch(text.strip())):
        raise BadInput(f"'{text[:60]}' is no machine. Write for instance {FORMS}.")
    name = {known.lower(): known for known in _GPUS}.get(found[2].lower())
    if name is None:
        raise BadInput(f"No device '{found[2][:60]}' is known. Known: {', '.join(_GPUS)}, and processors as "
                       "cpu:16x2.5GHz.")
    sizes, half, single, price = _GPUS[name]
    size = int(found[3]) if found[3] else sizes[-1]
    if size not in sizes:
        raise BadInput(f"There is no {name} with {size} GB. Known: {', '.join(f'{name}-{one}G' for one in sizes)}.")
    return Hardware(_within(text, int(found[1] or 1)), Device(f"{name}-{size}G", size * GB, half * 1e12, single * 1e12,
                                                              price))


def _within(text: str, n: int) -> int:
    if not 1 <= n <= MOST:
        raise BadInput(f"'{text[:60]}' names {n:,} devices. Between 1 and {MOST:,} can be planned with.")
    return n


def parse_price(text: str) -> tuple[float, float]:
    """Dollars per device and hour: `1.5-4`, or one figure.

    Raises:
        ValueError: it is neither.
    """
    low, _, high = text.partition("-")
    found = float(low), float(high or low)
    if not (0 <= found[0] <= found[1] and math.isfinite(found[1])):
        raise ValueError(f"'{text}' is not a range of prices such as 1.5-4")
    return found
