"""CTranslate2 as the engine of a policy: plain sampling of GPT-2 and T5 on a CPU, several times faster.

An optional extra (`pip install dpo-workbench[ctranslate2]`).  It takes no hook on its logits: our noise,
lambda, log-ratios and min-p need our own loop.  It applies top-k and top-p before the temperature, where
transformers does so after it, and its repetition penalty looks at the answer alone, where transformers' looks at
GPT-2's prompt as well; with all three off the distributions are the same.
"""

from __future__ import annotations

import copy
import itertools
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

from peft import PeftModel

from dpo.errors import ConfigError, PolicyError
from dpo.generation.detokenizer import Writer
from dpo.generation.pieces import End, Piece
from dpo.generation.settings import PLAIN, Sampling
from dpo.policies.families import Ids, Prompt
from dpo.policies.loading import Policy
from dpo.policies.scoring import score

_MEASURED = 48
_KNOWN = frozenset(
    {"temperature", "top_p", "top_k", "max_new_tokens", "seed", "repetition_penalty", "stop", "same_noise"}
)
Compute = Literal["float32", "int8"]
_INSTALL = "CTranslate2 is not installed: pip install 'dpo-workbench[ctranslate2]', or use the engine torch"
# Of the process, not of an app: a conversion takes seconds and the weights' memory once more.  It belongs to the policy
# that it was made from, and goes with it; apps that load a policy each have a conversion each.
_made: dict[tuple[int, Compute], tuple[weakref.ref[Policy], Converted]] = {}


class Converted:
    """A policy's weights as CTranslate2 holds them."""

    def __init__(self, policy: Policy, compute: Compute) -> None:
        try:
            import ctranslate2
        except ImportError as error:
            raise PolicyError(_INSTALL) from error
        self._library, self.compute = ctranslate2, compute
        self._difference: str | None = None
        # Not the policy itself: what is converted must not keep it in memory.
        self.tokenizer, self.family = policy.tokenizer, policy.family
        self.seq2seq = policy.family.has_encoder
        with tempfile.TemporaryDirectory(prefix="dpo-ct2-") as folder:
            _convert(policy, folder, compute)
            kind = ctranslate2.Translator if self.seq2seq else ctranslate2.Generator
            self.model: Any = kind(folder, device="cpu", compute_type=compute, intra_threads=1)

    def stream(
        self,
        policy: Policy,
        prompt_ids: Ids,
        sampling: Sampling,
        cancelled: Callable[[], bool] = lambda: False,
        place: int = 0,
        sample: int = 0,
    ) -> Iterator[Piece]:
        """Answer a prompt's tokens token by token, as `dpo.generation.sampler.stream` does.

        Raises:
            ConfigError: a setting that this engine doesn't have.
        """
        check_settings(sampling)
        room = min(sampling.max_new_tokens, policy.max_new_tokens(prompt_ids))
        writer, end = Writer(policy, sampling.stop), "eos"
        steps = self.tokens(prompt_ids, room, sampling, sampling.seed + sample)
        for token in steps:
            if cancelled():
                end = "cancelled"
                break
            if token == policy.eos_token_id:
                writer.ids.append(token)
                yield Piece("", len(writer.ids), None, place, sample, token=token)
                break
            yield Piece(writer.push(token), len(writer.ids), None, place, sample, token=token)
            if writer.stopped:
                end = "stop"
                break
        else:
            end = "length" if len(writer.ids) >= room else "eos"
        steps.close()
        text = writer.finish()
        final: End = "stop" if writer.stopped else end  # type: ignore[assignment]
        yield Piece(text, len(writer.ids), final, place, sample)

    def tokens(self, prompt_ids: Ids, room: int, sampling: Sampling, seed: int) -> Any:
        """An iterator over token ids, EOS perhaps left out."""
        self._library.set_random_seed(seed)
        greedy = sampling.temperature == 0
        options: dict[str, Any] = {
            "sampling_topk": 1 if greedy else sampling.top_k,
            "sampling_topp": 1.0 if greedy else sampling.top_p,
            "sampling_temperature": 1.0 if greedy else sampling.temperature,
            "repetition_penalty": sampling.repetition_penalty,
        }
        words = self.tokenizer.convert_ids_to_tokens(prompt_ids)
        if self.seq2seq:
            results = self.model.generate_tokens(words, max_decoding_length=room, max_input_length=0, **options)
        else:
            results = self.model.generate_tokens(words, max_length=room, **options)
        return (step.token_id for step in itertools.islice(results, room))

    def difference(self, policy: Policy, prompt: Prompt, prompt_ids: Ids) -> str | None:
        """How far this engine's log-probabilities are from the policy's own, in words; measured with the first prompt.

        Over the tokens of a greedy answer of this engine, in nats; None where it is empty.
        """
        if self._difference is None:
            greedy = replace(PLAIN, temperature=0, max_new_tokens=_MEASURED)
            text = "".join(piece.text for piece in self.stream(policy, prompt_ids, greedy))
            if not text.strip():
                return None
            ids = self.family.encode_completions(self.tokenizer, [text])[0]
            ours = self.log_probs(prompt_ids, ids)
            moved = [abs(a - b) for a, b in zip(ours, score(policy, [prompt], [text])[0], strict=True)]
            self._difference = (
                f"Measured here: {self.compute} moves a token's log-probability by {sum(moved) / len(moved):.2f} nat "
                f"on average, {max(moved):.2f} at most (n = {len(moved)})"
            )
        return self._difference

    def log_probs(self, prompt_ids: Ids, answer_ids: Ids) -> list[float]:
        """Log-probabilities (nats) of the answer's tokens, EOS last, for checking them against torch's."""
        words, answer = (self.tokenizer.convert_ids_to_tokens(ids) for ids in (prompt_ids, answer_ids))
        if self.seq2seq:
            [scored] = self.model.score_batch([words], [answer[:-1]], max_input_length=0)
            return list(scored.log_probs)
        [scored] = self.model.score_batch([words + answer])
        return list(scored.log_probs[len(words) - 1 :])


def converted(policy: Policy, compute: Compute) -> Converted:
    """The policy for CTranslate2, converted once as long as it stays in memory.

    Raises:
        PolicyError: the library is missing, or has no such architecture.
    """
    key = (id(policy), compute)
    known = _made.get(key)
    if known is None or known[0]() is not policy:
        known = _made[key] = (weakref.ref(policy, lambda _: _made.pop(key, None)), Converted(policy, compute))
    return known[1]


def check_settings(sampling: Sampling) -> None:
    """Refuse what this library has no word for.

    Raises:
        ConfigError: with the setting's name.
    """
    if name := sampling.beyond(_KNOWN):
        raise ConfigError(f"{name} is not for CTranslate2: leave it out, or use the engine torch")


def _convert(policy: Policy, folder: str, compute: Compute) -> None:
    from ctranslate2.converters import transformers as known
    from ctranslate2.converters.converter import Converter

    # A copy: quantising writes into the tensors that it is given.
    model: Any = copy.deepcopy(policy.model).float()
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    loader = known._MODEL_LOADERS.get(type(model.config).__name__)
    if loader is None:
        raise PolicyError(f"CTranslate2 doesn't know {type(model).__name__} ({policy.name}): use the engine torch")

    class FromMemory(Converter):  # type: ignore[misc]
        def _load(self) -> Any:
            spec = loader(model, policy.tokenizer)
            for name in ("bos_token", "unk_token"):
                if getattr(spec.config, name) is None:  # not every tokenizer has these, but the format wants them
                    setattr(spec.config, name, policy.tokenizer.eos_token)
            return spec

    FromMemory().convert(folder, quantization=compute, force=True)
