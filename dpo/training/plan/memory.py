"""How much memory a training takes on each GPU, part by part, by how it is spread over them (no torch here).

Weights, gradients and the optimizer's state are counted exactly, in the precision that `dpo train` keeps them in: fp32,
also where the passes are computed in bf16.  Activations are an estimate from the sizes of the layers, which the tests
hold against what PyTorch keeps for the backward pass of real steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dpo.training.plan.sizes import Sizes, Stack

GB = 1e9
WEIGHT, GRADIENT, MOMENTS, REFERENCE = 4, 4, 8, 4
"""Bytes of a parameter in fp32: itself, its gradient, AdamW's two moments, and the frozen reference's copy of it."""
CHECKPOINT = WEIGHT + MOMENTS
NF4 = (4 + 0.127) / 8
"""Bytes of a parameter in 4 bits, with quantised scales: 0.127 bits each (Dettmers et al. 2023, QLoRA, section 3)."""
KEPT_SOFTMAX = 1 << 30
"""Bytes of softmaxes up to which the scoring keeps them; above they are computed again (`dpo.policies.logps`)."""
SCORED_ROWS = 1024  # of logits at a time, in fp32, twice
CONTEXT = 1.0 * GB  # CUDA's own, and its libraries'
USABLE = 0.92  # of a card's memory: the rest is lost between PyTorch's blocks

Strategy = Literal["single", "ddp", "fsdp", "lora", "qlora"]


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU."""

    weights: float
    gradients: float
    optimizer: float
    reference: float
    activations: float = 0.0
    logits: float = 0.0
    buffers: float = 0.0
    """What the spreading takes: DDP's buckets of gradients, FSDP's gathered layers."""

    @property
    def total(self) -> float:
        """All of it, with CUDA's own."""
        return sum(vars(self).values()) + CONTEXT


@dataclass(frozen=True)
class MicroBatch:
    """What one GPU computes at a time: `pairs` with prompts and answers of so many tokens, both cut there.

    `bits16`: the passes are cast to bf16 (autocast), in which `dpo train` takes plain attention, which keeps its
    scores; in fp32 attention is fused, save T5's.  `recompute`: gradient checkpointing.
    """

    pairs: int
    prompt: int
    answer: int
    bits16: bool = True
    recompute: bool = False

    @property
    def bytes(self) -> int:
        """Of a number in the passes."""
        return 2 if self.bits16 else 4


def states(parameters: int, strategy: Strategy, gpus: int = 1, adapter: int = 0, quantised: int = 0) -> Memory:
    """Weights, gradients, optimizer and reference of a preference training, in bytes on each GPU.

    With N parameters and AdamW in fp32: 4N of weights, 4N of gradients, 8N of moments (Rajbhandari et al. 2020, ZeRO,
    section 3.1, whose 2N + 2N + 12N are the same 16N with weights in 16 bits beside those in 32), and 4N of the frozen
    reference.  DDP has all of it on every GPU; FSDP's full shard divides everything by the number of GPUs (ZeRO's
    stage 3: 16N/G).  LoRA trains `adapter` parameters beside frozen weights and needs no second reference: it is
    the same model with the adapter switched off.  QLoRA holds `quantised` of the frozen ones in 4 bits.
    """
    if strategy in ("lora", "qlora"):
        few = quantised if strategy == "qlora" else 0
        frozen = WEIGHT * (parameters - few) + NF4 * few
        return Memory(frozen + WEIGHT * adapter, GRADIENT * adapter, MOMENTS * adapter, 0.0)
    share = gpus if strategy == "fsdp" else 1
    each = (WEIGHT, GRADIENT, MOMENTS, REFERENCE)
    return Memory(*(size * parameters / share for size in each))


def memory(sizes: Sizes, strategy: Strategy, gpus: int, batch: MicroBatch) -> Memory:
    """All that a training takes on each GPU, in bytes."""
    held = states(sizes.parameters, strategy, gpus, sizes.adapter, sizes.quantised)
    return replace(
        held,
        activations=activations(sizes, batch) + _cast(sizes, strategy, batch),
        logits=logits(sizes, strategy, batch),
        buffers=_buffers(sizes, strategy, gpus, batch),
    )


def rows(sizes: Sizes, prompt: int, answer: int) -> tuple[int, int]:
    """Rows of a decoder for one pair, and tokens in each.

    An encoder-decoder reads the prompt elsewhere; a decoder reads it before each answer, or once for both in one row
    (`dpo.policies.sharing`), where that takes fewer operations.
    """
    if sizes.encoder is not None:
        return 2, answer
    if sizes.shares and 6 * sizes.width * prompt + prompt**2 > 2 * answer**2:
        return 1, prompt + 2 * (answer - 1)
    return 2, prompt + answer


def activations(sizes: Sizes, batch: MicroBatch) -> float:
    """Bytes that the backward pass needs of the forward pass, the logits left out.

    As Korthikanti et al. 2022 (Reducing Activation Recomputation, section 4.1) count them, `s b h (34 + 5 a s / h)` of
    a layer in 16 bits, without their dropout masks, as none is used here: of each token and layer the normalisations
    keep their inputs (fp32, as the residual stream is) and results, attention its queries, keys, values and
    result (4h) and, where it is not fused, the scores `a s` before and after their cast, and the feed-forward part
    what its activation function needs.  With recomputation (ibid., section 5: `2 s b h` of a layer) each layer keeps
    its input alone, and one layer at a time is whole.
    """
    count, length = rows(sizes, batch.prompt, batch.answer)
    total = _kept(sizes.decoder, batch, count * batch.pairs, length)
    if sizes.encoder is not None:
        total += _kept(sizes.encoder, batch, batch.pairs, batch.prompt)
    return total


def _kept(stack: Stack, batch: MicroBatch, count: int, length: int) -> float:
    h, a, size = stack.width, stack.attention, batch.bytes
    tokens = count * length
    token = stack.norms * h * (4 * stack.norm_kept + size)
    token += size * (4 * a + stack.feed_forward * stack.feed_forward_kept)
    layer = tokens * token + _scores(stack, batch, tokens * length, fused=not stack.biased)
    if not batch.bits16 and length > batch.prompt + batch.answer:
        layer += 4 * tokens * length  # the mask of rows that both answers share
    if stack.cross:
        # Queries and result of each token; keys and values of the prompt, for each answer.
        layer += size * (2 * a * tokens + 2 * a * count * batch.prompt)
        layer += _scores(stack, batch, tokens * batch.prompt, fused=True)
    last = tokens * h * (4 * stack.norm_kept + size)  # the normalisation above the layers
    if batch.recompute:
        return 4 * h * tokens * stack.layers + layer + last
    return stack.layers * layer + last


def _scores(stack: Stack, batch: MicroBatch, cells: int, fused: bool) -> float:
    """Of attention over so many pairs of tokens: softmaxes in fp32 and, after their cast, in 16 bits."""
    if batch.bits16:
        return (4 + 2) * stack.heads * cells
    return 0.0 if fused else 4.0 * stack.heads * cells


def _cast(sizes: Sizes, strategy: Strategy, batch: MicroBatch) -> float:
    """Copies of the weights in 16 bits, which autocast makes once a step; FSDP and 4 bits cast a layer at a time."""
    return 2.0 * sizes.quantised if batch.bits16 and strategy not in ("fsdp", "qlora") else 0.0


def logits(sizes: Sizes, strategy: Strategy, batch: MicroBatch) -> float:
    """Bytes of the output layer: it never makes all logits, only blocks of them (`dpo.policies.logps`).

    Softmaxes `(2 b answer, V)` are kept for the gradient of the output's weights up to 1 GiB; with an adapter, whose
    gradient does not pass there, never.
    """
    scored = 2 * batch.pairs * batch.answer
    softmaxes = scored * sizes.vocabulary * batch.bytes
    kept = softmaxes if strategy not in ("lora", "qlora") and softmaxes <= KEPT_SOFTMAX else 0
    blocks = 2 * 4 * min(scored, SCORED_ROWS) * sizes.vocabulary
    return float(kept + blocks + 2 * scored * sizes.width * batch.bytes)


def _buffers(sizes: Sizes, strategy: Strategy, gpus: int, batch: MicroBatch) -> float:
    if gpus == 1 or strategy == "single":
        return 0.0
    if strategy == "fsdp":
        # Two layers (the next is fetched early) with one's gradient, and what is outside of layers for the whole step.
        return float(batch.bytes * (3 * sizes.largest_block + 2 * (sizes.parameters - sizes.in_blocks)))
    return float(GRADIENT * (sizes.adapter if strategy in ("lora", "qlora") else sizes.parameters))
