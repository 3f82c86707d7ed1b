"""What differs between encoder-decoder and decoder-only models, as far as no model is needed to say it.

How each kind reads prompts and writes answers is in `dpo.policies.families`, which builds on these
facts.  Nothing heavy is imported here, so records, pages and settings read the same table.

A family decides how a model is run; what a model is called comes from its architecture: T5, mT5 and
BART are one family, GPT-2, Llama and Pythia the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FamilyKey = Literal["seq2seq", "causal"]


@dataclass(frozen=True)
class Facts:
    """One family.

    Attributes:
        key: what records, the command line's JSON and the pages call it.
        word: its best known architecture, as flags and the records of earlier versions name it.
        kind: what people call it.
        has_encoder: whether prompts go into an encoder of their own, with positions of their own.
        task_type: PEFT's name.
        padding_side: where a batch of prompts is filled up before generating.  A decoder goes on at the right
            end of the row; an encoder with absolute positions (BART) counts from the left.
        prompt_end: what follows a prompt without a chat template, in words.
        fp16_safe: whether activations fit into fp16; T5's overflow.
        stubborn_dropout: whether attention drops out by a number that switching off `nn.Dropout` does not reach.
        rates: default learning rates by method (`dpo`, `sft`) and whether an adapter is trained.
        hub_id: what the short name `word` stands for on the Hugging Face hub.
        symbol: of its marks; its colour has its key in assets/tokens.css.
    """

    key: FamilyKey
    word: str
    kind: str
    has_encoder: bool
    task_type: str
    padding_side: Literal["left", "right"]
    prompt_end: str
    fp16_safe: bool
    stubborn_dropout: bool
    rates: Mapping[tuple[str, bool], float]
    hub_id: str
    symbol: str

    @property
    def label(self) -> str:
        """What a model of this family is called where its architecture is not known."""
        return architecture_label(_CLASSES[self.word])

    @property
    def base(self) -> str:
        """Name of the bundled policy that preference tuning started from."""
        return f"demo/{self.word}"

    @property
    def tuned(self) -> str:
        """Name of the bundled policy after DPO."""
        return f"{self.base}-dpo"

    def positions(self, prompt: int, answer: int) -> int:
        """Positions of the context that so many tokens need: together in a decoder, else on the longer side."""
        return max(prompt, answer) if self.has_encoder else prompt + answer

    def room(self, context: int, other: int) -> int:
        """Tokens that the prompt (or the answer) may have in this context if the other side has `other` tokens."""
        return context if self.has_encoder else context - other


_CLASSES = {"t5": "T5ForConditionalGeneration", "gpt2": "GPT2LMHeadModel"}

# The default rates are cautious peak rates, below those that suited the bundled policies (docs/training.md).
# T5 moves about eight times as far as GPT-2 at one rate; an adapter takes about ten times the rate
# of full fine-tuning.
SEQ2SEQ = Facts(
    key="seq2seq",
    word="t5",
    kind="Encoder–decoder",
    has_encoder=True,
    task_type="SEQ_2_SEQ_LM",
    padding_side="right",
    prompt_end="its end-of-sequence token",
    fp16_safe=False,
    stubborn_dropout=True,
    rates={("dpo", False): 2e-5, ("dpo", True): 2e-4, ("sft", False): 3e-4, ("sft", True): 3e-4},
    hub_id="google-t5/t5-small",
    symbol="circle",
)
CAUSAL = Facts(
    key="causal",
    word="gpt2",
    kind="Decoder only",
    has_encoder=False,
    task_type="CAUSAL_LM",
    padding_side="left",
    prompt_end="one newline",
    fp16_safe=True,
    stubborn_dropout=False,
    rates={("dpo", False): 5e-5, ("dpo", True): 5e-4, ("sft", False): 3e-4, ("sft", True): 3e-4},
    hub_id="openai-community/gpt2",
    symbol="diamond",
)
FAMILIES: tuple[Facts, ...] = (SEQ2SEQ, CAUSAL)
_BY_WORD = {name: facts for facts in FAMILIES for name in (facts.key, facts.word)}
# Where the class's name is not what its authors call it.
_SPELLED = {
    "Bart": "BART", "MBart": "mBART", "MT5": "mT5", "UMT5": "umT5", "GPT2": "GPT-2", "GPTNeo": "GPT-Neo",
    "GPTNeoX": "GPT-NeoX", "GPTJ": "GPT-J", "Bloom": "BLOOM",
}  # fmt: skip
_ENDING = re.compile(r"(ForConditionalGeneration|ForCausalLM|LMHeadModel)$")


def facts_of(word: object) -> Facts | None:
    """The family called so: by its key, or by the word of earlier versions (`t5`, `gpt2`); None for anything else.

    >>> facts_of("gpt2").key, facts_of("seq2seq").task_type, facts_of("diffusion")
    ('causal', 'SEQ_2_SEQ_LM', None)
    """
    return _BY_WORD.get(word) if isinstance(word, str) else None


def family_key(config: Mapping[str, Any]) -> FamilyKey:
    """The family of a model with this `config.json`."""
    return SEQ2SEQ.key if config.get("is_encoder_decoder") is True else CAUSAL.key


def architecture_of(config: Mapping[str, Any]) -> str | None:
    """The model's class as its `config.json` names it, or None.

    >>> architecture_of({"model_type": "bart", "architectures": ["BartForConditionalGeneration"]})
    'BartForConditionalGeneration'
    """
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return first if isinstance(first, str) and 0 < len(first) <= 200 else None


def architecture_name(architecture: str) -> str:
    """The name within a class's name: `GPT2` of `GPT2LMHeadModel`."""
    return _ENDING.sub("", architecture)


def architecture_label(architecture: str) -> str:
    """What people call an architecture, from the name of its class.

    >>> [architecture_label(name) for name in ("BartForConditionalGeneration", "GPT2LMHeadModel", "LlamaForCausalLM")]
    ['BART', 'GPT-2', 'Llama']
    """
    name = architecture_name(architecture)
    return _SPELLED.get(name, name)
