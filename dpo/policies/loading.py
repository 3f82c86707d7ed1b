"""From a name to a policy in memory: safetensors only, and never code from a model repository."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
import transformers
from huggingface_hub import utils as hub
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from jinja2 import TemplateError
from peft import PeftModel, get_peft_model_state_dict
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from dpo.errors import ConfigError, DpoError, PolicyError, PromptError, first_line
from dpo.hub import offline, why_offline
from dpo.policies.characters import Characters
from dpo.policies.families import Family, Ids, Prompt, disable_dropout, family_of
from dpo.policies.inspection import inspect, shapes_of
from dpo.policies.names import Source, base_of, check_weights, context, resolve
from dpo.policies.text import decode_ids, lossless

# Where T5's context has no end of its own; far more than a small model can follow.
_UNBOUNDED_PROMPT = 4096

# Reading weights from this disk takes a second and needs no bar; downloads keep theirs.
_downloads_shown = not hub.are_progress_bars_disabled()
transformers.logging.disable_progress_bar()
if _downloads_shown:
    hub.enable_progress_bars()

_TURN = threading.RLock()  # an adapter loads its base within its own turn
_Given = ParamSpec("_Given")
_Loaded = TypeVar("_Loaded")


@dataclass
class Policy:
    """A model, its tokenizer and its family, ready to answer and to be scored.

    `model` is in evaluation mode with every dropout off.  Example:

    >>> policy = load_policy("demo/gpt2")
    >>> policy.shown_prompt("Do you like tea?")
    'Do you like tea?\\n'
    """

    name: str
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    family: Family
    # Tokens that the published vocabulary lacks: their embeddings know nothing until trained.
    added_token_ids: tuple[int, ...] = ()
    _characters: tuple[int, Characters | None] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.model.parameters()).device

    @property
    def network(self) -> PreTrainedModel:
        """The transformers model itself, adapters injected but unwrapped."""
        model = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        assert isinstance(model, PreTrainedModel)
        return model

    @property
    def eos_token_id(self) -> int:
        """The token that ends an answer."""
        assert isinstance(self.tokenizer.eos_token_id, int)
        return self.tokenizer.eos_token_id

    @property
    def pad_token_id(self) -> int:
        """The token that fills rows up; masks decide what counts, so any id would do."""
        pad = self.tokenizer.pad_token_id
        return pad if isinstance(pad, int) else self.eos_token_id

    @property
    def decoder_start(self) -> int | None:
        """The decoder's first token (encoder-decoder models only)."""
        start = getattr(self.network.config, "decoder_start_token_id", None)
        return int(start) if start is not None else None

    def encode_prompt(self, prompt: Prompt, reserve: int = 0) -> Ids:
        """Token ids of `prompt` (a question, or messages with `role` and `content`) as the model sees it.

        Raises:
            PromptError: the prompt is blank, or leaves fewer than `reserve` tokens of the context, or the chat template
                refuses it.
        """
        if not (prompt if isinstance(prompt, str) else prompt[-1]["content"] if prompt else "").strip():
            raise PromptError("The prompt is blank: write a question or a sentence")
        try:
            ids = self.family.encode_prompts(self.tokenizer, [prompt])[0]
        except TemplateError as error:
            raise PromptError(f"The chat template of {self.name} fails: {first_line(error)}") from error
        limit = self._prompt_limit(reserve)
        if len(ids) > limit:
            reserved = f" with {reserve} kept for the answer" if reserve else ""
            raise PromptError(
                f"The prompt has {len(ids)} tokens and {self.name} takes at most {limit}{reserved}: shorten the prompt"
            )
        return ids

    def max_new_tokens(self, prompt_ids: Ids) -> int:
        """How many tokens an answer to this prompt may have at most."""
        limit = self.family.context(self.network.config)
        if limit is None:
            return _UNBOUNDED_PROMPT
        return self.family.facts.room(limit, len(prompt_ids))

    @property
    def characters(self) -> Characters | None:
        """Which tokens may follow so that an answer is text; None where every token is whole characters."""
        if self._characters is None or self._characters[0] != len(self.tokenizer):
            self._characters = (len(self.tokenizer), Characters.of(self.tokenizer))
        return self._characters[1]

    def decode(self, ids: Ids) -> str:
        """The text of token ids, special tokens left out."""
        return decode_ids(self.tokenizer, ids)

    def shown_prompt(self, prompt: Prompt) -> str:
        """What the model gets to see, special tokens visible."""
        return self.family.shown_prompt(self.tokenizer, self.encode_prompt(prompt))

    @contextlib.contextmanager
    def reference(self) -> Iterator[None]:
        """Within this context an adapter policy is its own base; other policies are unchanged."""
        with self.model.disable_adapter() if isinstance(self.model, PeftModel) else contextlib.nullcontext():
            yield

    def _prompt_limit(self, reserve: int) -> int:
        limit = self.family.context(self.network.config)
        if limit is None:
            return _UNBOUNDED_PROMPT
        return self.family.facts.room(limit, max(reserve, 1))


def pick_device(device: str = "auto") -> torch.device:
    """`auto` is CUDA, else Apple's MPS, else the CPU."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def weights_dtype(name: str, device: str = "auto") -> torch.dtype:
    """The type of weights called fp32 or bf16, if the device computes with it.

    Raises:
        ConfigError: another name, or a device that has no bf16 or only a slow imitation of it.
    """
    if check_weights(name) == "fp32":
        return torch.float32
    place = pick_device(device)
    try:
        if place.type == "cuda":
            able = torch.cuda.is_bf16_supported(including_emulation=False)
        elif place.type == "cpu":
            able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        else:
            able = bool(torch.ones(2, dtype=torch.bfloat16, device=place).sum().item() == 2)
    except (RuntimeError, TypeError, AttributeError):
        able = False
    if not able:
        raise ConfigError(f"--dtype bf16: this {place.type} device has no bf16 of its own; use fp32")
    return torch.bfloat16


def _one_at_a_time(load: Callable[_Given, _Loaded]) -> Callable[_Given, _Loaded]:
    """transformers loads with global switches (meta tensors, no initialisation): threads must take turns."""

    @functools.wraps(load)
    def taking_turns(*args: _Given.args, **kwargs: _Given.kwargs) -> _Loaded:
        with _TURN:
            return load(*args, **kwargs)

    return taking_turns


@_one_at_a_time
def load_policy(
    name: str,
    *,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
    new_text: Iterable[str] = (),
    trainable_adapter: bool = False,
    eager_attention: bool = False,
    quantization: str = "none",
) -> Policy:
    """Load the policy called `name` (see `dpo.policies.names`).

    Args:
        device: `auto`, or a torch device.
        dtype: of the weights in memory; the bundled weights are stored as bfloat16.
        new_text: texts whose frequent characters become tokens if the tokenizer lacks them.
        trainable_adapter: keep an adapter's weights trainable (to train it further).
        eager_attention: plain attention, where the score must not depend on gradients being on.
        quantization: `4bit` or `8bit` holds the weights in so many bits (bitsandbytes); they cannot be trained.

    Raises:
        PolicyError: not found, hub out of reach, no safetensors, files that do not fit, no token that ends an
            answer, or no bitsandbytes.
    """
    source = resolve(name)
    if source.kind == "hub":
        offline()
    elif source.kind != "bundled":
        inspect(Path(source.location), source.adapter)
    if source.adapter:
        context(name)  # refuses adapters that stand on each other without end
        policy = _load_adapter(source, dtype, trainable_adapter, eager_attention, (quantization, device))
    else:
        with explained(source):
            published = AutoTokenizer.from_pretrained(source.location, trust_remote_code=False)
            config = AutoConfig.from_pretrained(source.location, trust_remote_code=False)
            model = _load_weights(source.location, config, dtype, eager_attention, (quantization, device))
        tokenizer = lossless(published, new_text)
        if tokenizer.eos_token_id is None:
            raise PolicyError(
                f"{name}: its tokenizer has no EOS token, so no answer could end: "
                "set eos_token in its tokenizer_config.json"
            )
        added = tuple(range(len(published), len(tokenizer)))
        policy = Policy(name, model, tokenizer, family_of(config), added)
        fit_embeddings(model, len(tokenizer), added)
    disable_dropout(policy.model)
    if quantization == "none":  # bitsandbytes has placed what it quantised
        policy.model.to(pick_device(device))  # type: ignore[arg-type]
    policy.model.eval()
    return policy


def fit_embeddings(model: PreTrainedModel, tokens: int, added: Sequence[int]) -> None:
    """Grow the embeddings to `tokens` rows if there are fewer, and start the `added` rows off.

    They begin as the mean of the rows that mean something, so that an untrained policy practically
    never says them; without noise, so that every load gives the same policy.  The model gets a new tensor:
    the one that it has may be another policy's too (`dpo.policies.shared_weights`).
    """
    if model.get_input_embeddings().weight.size(0) < tokens:
        model.resize_token_embeddings(tokens, mean_resizing=False)
    if not added:
        return
    with torch.no_grad():
        # Tied embeddings are one parameter, which is set once.
        layers = (model.get_input_embeddings(), model.get_output_embeddings())
        for weight in {id(layer.weight): layer.weight for layer in layers if layer is not None}.values():
            fitted = weight.detach().clone()
            fitted[list(added)] = fitted[: added[0]].mean(0)
            weight.data = fitted


def save_policy(policy: Policy, directory: Path, dtype: torch.dtype | None = None) -> None:
    """Write weights (safetensors) and tokenizer so that plain transformers and PEFT load them too."""
    model = policy.model
    if dtype is not None:
        model = model.to(dtype)  # type: ignore[assignment]
    model.save_pretrained(directory)
    save_tokenizer(policy.tokenizer, directory)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write the tokenizer under a class name that transformers 4 and 5 both know."""
    tokenizer.save_pretrained(directory)
    path = directory / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("tokenizer_class") == "TokenizersBackend":
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _load_weights(
    location: str, config: PretrainedConfig, dtype: torch.dtype, eager: bool, held: tuple[str, str]
) -> PreTrainedModel:
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    # T5 in bf16 with SDPA scores differently with and without gradients (up to 0.47 nats an answer).
    eager = eager or (config.is_encoder_decoder and dtype != torch.float32)
    model, found = auto.from_pretrained(
        location,
        output_loading_info=True,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        # None: SDPA where the architecture has it (GPT-Neo, BLOOM and Gemma 2 have not).
        attn_implementation="eager" if eager else None,
        **_quantized(*held, dtype),
    )
    assert isinstance(model, PreTrainedModel)
    missing = sorted(found["missing_keys"])  # tied weights are not among them
    if missing:
        raise ValueError(f"{len(missing)} weights are missing and would be random, {missing[0]} the first of them")
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # After one evaluation bitsandbytes would repack the weights in a way that no gradient passes.
            module.support_avx512bf16_for_cpu = False
    return model


def _quantized(quantization: str, device: str, dtype: torch.dtype) -> dict[str, Any]:
    if quantization == "none":
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise PolicyError(
            f"--quantization {quantization} needs bitsandbytes: pip install 'dpo-workbench[quantization]', "
            "or leave it out"
        )
    four = quantization == "4bit"
    # QLoRA's recipe (Dettmers et al. 2023): normal-float weights, their scales quantised too.
    config = BitsAndBytesConfig(
        load_in_4bit=four, load_in_8bit=not four, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )  # fmt: skip
    place = pick_device(device)
    if place.type == "cuda" and place.index is None:  # of several processes each has a GPU of its own
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return {"quantization_config": config, "device_map": {"": place}}


def _load_adapter(source: Source, dtype: torch.dtype, trainable: bool, eager: bool, held: tuple[str, str]) -> Policy:
    directory = Path(source.location)
    base = base_of(directory)
    if not base:
        raise PolicyError(f"{directory} is an adapter that does not say its base model: save it again with its base")
    quantization, device = held
    place = "cpu" if quantization == "none" else device  # what is quantised is made where it stays
    base_policy = load_policy(base, device=place, dtype=dtype, eager_attention=eager, quantization=quantization)
    with explained(source):
        tokenizer = (
            AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
            if (directory / "tokenizer_config.json").is_file()
            else base_policy.tokenizer
        )
        network = base_policy.network
        # Rows of added tokens come with the adapter: it trained them.
        fit_embeddings(network, len(tokenizer), range(len(base_policy.tokenizer), len(tokenizer)))
        # `is_trainable` off would also leave the adapter in inference mode after loading.
        model = PeftModel.from_pretrained(base_policy.model, str(directory), is_trainable=trainable)
        wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
        missing = sorted(set(wanted) - set(shapes_of(directory / "adapter_model.safetensors")))
        if missing:
            raise ValueError(f"{len(missing)} of its weights are missing, {missing[0]} the first of them")
    return Policy(source.name, model, tokenizer, family_of(network.config))


@contextlib.contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn what the libraries raise while loading into one line that says what to do."""
    where = f"{source.location} ({source.name})" if source.name != source.location else source.name
    try:
        yield
    except (RepositoryNotFoundError, GatedRepoError) as error:
        raise PolicyError(f"The hub has no model {where} that you may read: check the name or log in") from error
    except DpoError:
        raise
    except Exception as error:  # what a damaged or hostile file makes libraries raise is anything
        if source.kind == "hub":
            if offline():
                raise PolicyError(
                    f"{where} is no local policy, and {why_offline()}; or check the name, or use a local directory or "
                    "demo/t5, demo/gpt2"
                ) from error
            raise PolicyError(f"{where} cannot be loaded from the hub: {first_line(error)}") from error
        raise PolicyError(f"{where} cannot be loaded: {first_line(error)}") from error
