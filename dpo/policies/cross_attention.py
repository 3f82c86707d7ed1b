"""One projection of a prompt for all its answers, in encoder-decoder models.

Every layer of the decoder turns the encoder's states into keys and values.  They depend on the prompt
alone, so both answers of a pair can use the same ones.  transformers has a place for ready keys and
values, the cache of its generation loop; here that cache is filled when a layer asks, which is inside
the layer's own forward pass (FSDP has its weights together only there), and gradients flow through it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import EncoderDecoderCache, PreTrainedModel
from transformers.cache_utils import Cache

_NAMES = ("EncDecAttention", "encoder_attn")  # T5's and BART's kin


def prompt_cache(model: PreTrainedModel, encoded: Tensor, per_prompt: int) -> EncoderDecoderCache | None:
    """A cache for one decoder pass over `per_prompt` answers of each prompt.

    Args:
        model: the encoder-decoder model.
        encoded: `(prompts, n, d)`, the encoder's states.
        per_prompt: answers of each prompt; answer `i` belongs to prompt `i % prompts`.

    Returns:
        None where nothing can be shared: one answer, an attention of another make, or gradient
        checkpointing, which takes no cache.
    """
    decoder = model.get_decoder()
    if per_prompt < 2 or any(getattr(module, "gradient_checkpointing", False) for module in decoder.modules()):
        return None
    found = [module for name, module in decoder.named_modules() if name.endswith(_NAMES)]
    layers = {getattr(module, "layer_idx", None): module for module in found}
    if set(layers) != set(range(len(found))) or not found:
        return None
    cache = EncoderDecoderCache(_OneCall(), _OneCall())
    cache.cross_attention_cache.layers = [_Projected(layers[i], encoded, per_prompt) for i in range(len(found))]
    cache.is_updated = dict.fromkeys(range(len(found)), True)
    return cache


class _OneCall(Cache):  # type: ignore[misc]
    """A self-attention cache of a single pass: nothing came before and nothing is kept."""

    def __init__(self) -> None:
        super().__init__(layers=[])

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return key_states, value_states


class _Projected:
    """Keys and values `(answers, heads, n, head size)` of one layer, made when they are asked for."""

    def __init__(self, attention: nn.Module, encoded: Tensor, per_prompt: int) -> None:
        self._attention: Any = attention
        self._encoded, self._per_prompt = encoded, per_prompt

    @property
    def keys(self) -> Tensor:
        attention = self._attention
        return self._heads(attention.k if hasattr(attention, "k") else attention.k_proj)

    @property
    def values(self) -> Tensor:
        attention = self._attention
        return self._heads(attention.v if hasattr(attention, "v") else attention.v_proj)

    def _heads(self, projection: nn.Module) -> Tensor:
        size = getattr(self._attention, "key_value_proj_dim", None) or self._attention.head_dim
        states: Tensor = projection(self._encoded)
        heads = states.view(*states.shape[:2], -1, size).transpose(1, 2)
        return heads.repeat(self._per_prompt, 1, 1, 1)
