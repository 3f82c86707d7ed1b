"""GPUs: what they hold and how quick they are, by their makers' data sheets (no torch here)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dpo.errors import ConfigError
from dpo.values import nearest

MOST_GPUS = 100_000


@dataclass(frozen=True)
class Card:
    """One kind of GPU.

    `gigabytes` (1e9 bytes) of memory; `bf16` and `fp32`: dense peak rates in 1e12 operations a second, of tensor cores
    without sparsity, and without tensor cores.
    """

    name: str
    gigabytes: float
    bf16: float
    fp32: float


# NVIDIA's data sheets (H100 and H200, A100, L40S, L4) and architecture white papers (GeForce: Ada and Ampere GA102,
# with sums in fp32). Sheets that print rates with sparsity are halved here.
CARDS = {
    card.name: card
    for card in (
        Card("H200", 141, 989.0, 67.0),
        Card("H100", 80, 989.0, 67.0),
        Card("H100 PCIe", 80, 756.0, 51.0),
        Card("A100", 80, 312.0, 19.5),
        Card("A100 40GB", 40, 312.0, 19.5),
        Card("L40S", 48, 362.0, 91.6),
        Card("L4", 24, 121.0, 30.3),
        Card("RTX 4090", 24, 165.2, 82.6),
        Card("RTX 3090", 24, 71.0, 35.6),
    )
}


@dataclass(frozen=True)
class Gpus:
    """So many GPUs of one kind; `assumed`: only the memory was named, the rate is another card's."""

    count: int
    card: Card
    assumed: bool = False


def gpus(text: str) -> Gpus:
    """What `8x80GB`, `8xH100`, `2x RTX 4090` or `A100` means.

    Where only the memory is named, the rate is that of the slowest card in the table with as much or the next larger
    memory: a plan rather ends early than late.

    >>> gpus("8xH100").count, gpus("80GB").card.bf16, gpus("2x24GB").card.name
    (8, 312.0, '24GB')

    Raises:
        ConfigError: it means nothing, or names a card that is not in the table.
    """
    parts = re.fullmatch(r"\s*(?:([0-9]{1,6})\s*[x×*]\s*)?(\S.*?)\s*", text, re.I)
    count = int(parts[1] or 1) if parts else 0
    if parts is None or not 1 <= count <= MOST_GPUS:
        raise ConfigError(f"--gpus {text!r}: write how many and which, such as 8x80GB or 2xH100")
    size = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9])?)\s*G(?:i?B)?", parts[2], re.I)
    if size is not None and float(size[1]) > 0:
        return Gpus(count, _by_memory(float(size[1])), assumed=True)
    known = {_key(name): card for name, card in CARDS.items()}
    card = known.get(_key(parts[2]))
    if card is None:
        raise ConfigError(
            f"--gpus {text}: {parts[2]} is not in the table{nearest(parts[2], CARDS)}; "
            f"use one of {', '.join(CARDS)}, or its memory, such as {count}x24GB"
        )
    return Gpus(count, card)


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _by_memory(gigabytes: float) -> Card:
    sizes = sorted({card.gigabytes for card in CARDS.values()})
    size = next((size for size in sizes if size >= gigabytes), sizes[-1])
    slowest = min((card for card in CARDS.values() if card.gigabytes == size), key=lambda card: card.bf16)
    return Card(f"{gigabytes:g}GB", gigabytes, slowest.bf16, slowest.fp32)
