"""Preference training for every family on TRL's `DPOTrainer`.

Losses, metric names, reference handling, PEFT and resume are TRL's.  Ours are the two things it
lacks: encoder-decoder models (dropped in TRL 0.29) and a scoring head that is exact and quick on a
CPU.  Everything that leans on TRL's insides is in this file; `tests/training/test_trl_contract.py`
says what moved when a new release breaks it.

Where things are that the original code (eric-mitchell/direct-preference-optimization) has in its `trainers.py`:

* `preference_loss`: the formulas are in `dpo/losses.py`, TRL computes them from `_compute_loss` below;
* `concatenated_forward`, `_get_batch_logps`: `_summed` below, over the scoring head of `dpo/policies/scoring.py`;
* `reference_model`: `_reference_logps` below, of a frozen copy or of the adapter switched off;
* the update: the Trainer's `training_step`, which calls `_compute_loss`;
* `train`: `dpo/training/recipes/dpo.py`, the order of things.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors.torch import load_model, save_model
from torch import Tensor
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer
from trl.trainer.utils import use_adapter

from dpo.files import cache_directory
from dpo.policies.families import Batch, disable_dropout
from dpo.policies.loading import Policy
from dpo.policies.scoring import ScoredOutput, check_scoring, install_scoring_head
from dpo.policies.sharing import shares_exactly
from dpo.training.checkpoints import StagedCheckpoints
from dpo.training.data import LengthGroupedSampler, PairCollator
from dpo.training.finite_checks import FiniteSteps
from dpo.training.measures import PairMeasures, Remembered, pair_table
from dpo.training.reference import ReferenceCache, identity

# Keys of a batch that are not the model's.
_ABOUT = ("rows", "pair_keys")
_REFERENCE = "reference.safetensors"  # in a checkpoint, where the reference moves


class PreferenceTrainer(FiniteSteps, StagedCheckpoints, DPOTrainer):  # type: ignore[misc]
    """DPO on T5-like and GPT-2-like policies.

    Args:
        policy: trained in place.
        reference: the frozen reference of full fine-tuning; None for adapters, whose reference is
            the policy with the adapter off (or as it came, if it came with one).
        args: from `trl_arguments`.
        train, held_out: datasets of `tokenize_pairs`.
        lora: a fresh adapter to train instead of the weights.
        cache_reference: keep the reference's log-probabilities on disk (`ReferenceCache`).

    Raises:
        PolicyError: the model's logits are made in a way the scoring does not know.
    """

    def __init__(
        self,
        policy: Policy,
        reference: PreTrainedModel | None,
        args: DPOConfig,
        train: Dataset,
        held_out: Dataset | None,
        lora: LoraConfig | None = None,
        cache_reference: bool = False,
    ) -> None:
        check_scoring(policy)
        if parse_flag_from_env("ACCELERATE_USE_FSDP"):
            for model in (policy.network, *([reference] if reference is not None else [])):
                _share_embeddings(model)
        own = policy.family
        self.family = own if own.has_encoder or shares_exactly(policy.network) else own.unshared
        super().__init__(
            model=policy.model,
            ref_model=reference,
            args=args,
            data_collator=PairCollator(self.family, policy.pad_token_id, policy.decoder_start),
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=policy.tokenizer,
            peft_config=lora,
        )
        # TRL has just patched its own head onto the models; ours takes its place behind the same call.
        trained = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        disable_dropout(trained)
        _restore_adapter_dropout(trained, lora)
        install_scoring_head(trained, self.family, details=True, alignment=args.use_weighting)
        if self.ref_model is not None:
            frozen = self.accelerator.unwrap_model(self.ref_model)
            frozen.requires_grad_(False)
            install_scoring_head(frozen, self.family, details=False)
        # Through this flag TRL reads the reference's log-probabilities from the batch, where we put them.
        self.precompute_ref_logps = True
        self._cached = cache_reference and not args.sync_ref_model
        self.reference_cache: ReferenceCache | None = None
        self._seen = {"train": PairMeasures(args.beta, once=False), "eval": PairMeasures(args.beta, once=True)}

    def _compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False) -> Any:
        reference = self._reference_logps(inputs)
        return self._compute_against(reference, model, inputs, return_outputs)

    def _compute_against(self, reference: Tensor, model: Any, inputs: Batch, return_outputs: bool = False) -> Any:
        """TRL's loss with these reference log-probabilities `(pairs, 4)`; the pairs are counted."""
        chosen, rejected = reference[:, :2].float().unbind(1)
        given = _without(inputs, _ABOUT) | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        remembered = Remembered(model)
        loss = super()._compute_loss(remembered, given, return_outputs)
        with torch.no_grad():
            own = self._summed(remembered.output, inputs)
            table = pair_table(remembered.output, own[:, 2:], reference[:, 2:], self.beta)
            mode = "train" if self.model.training else "eval"
            self._seen[mode].add(self.accelerator.gather(inputs["rows"]), self.accelerator.gather(table))
        return loss

    def _loss_against(self, reference: Tensor, inputs: Batch) -> Tensor:
        """The loss with these reference log-probabilities `(pairs, 4)`, through TRL's own formula."""
        loss = self._compute_against(reference, self.model, inputs)
        assert isinstance(loss, Tensor)
        return loss

    def _reference_logps(self, inputs: Batch) -> Tensor:
        """The reference's log-probabilities as `_summed` has them, known or computed now."""
        keys = inputs["pair_keys"].tolist()
        known = self.reference_cache.get(keys) if self.reference_cache is not None else None
        if known is None:
            asked = Remembered(self.ref_model or self.model)
            self.compute_ref_log_probs(asked, _without(inputs, _ABOUT))
            made = self._summed(asked.output, inputs)
            if self.reference_cache is None:
                return made
            self.reference_cache.put(keys, made)
            known = self.reference_cache.get(keys)
            assert known is not None
        device = inputs["input_ids"].device
        return known.to(device, _exact(device))

    def _scored(self, inputs: Batch) -> ScoredOutput:
        """The policy's scores of a batch."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        given = _without(inputs, (*_ABOUT, "completion_mask"))
        scored: ScoredOutput = self.model(**given, labels=labels, fused_lm_head=True)
        return scored

    def _summed(self, output: ScoredOutput | None, inputs: Batch) -> Tensor:
        """`(pairs, 4)`: log-probabilities of the chosen and the rejected answers as TRL sums them in single
        precision, which the loss needs for both models alike, and in double precision for the measures.
        """
        assert output is not None and output.log_probs is not None
        logps = output.log_probs
        weights: Tensor | float = 1.0
        if self.ld_alpha is not None:
            # LD-DPO: what one answer says beyond the length of the other counts less.
            mask = inputs["completion_mask"]
            chosen, rejected = mask.sum(1).chunk(2)
            shared = torch.minimum(chosen, rejected).repeat(2)[:, None]
            weights = torch.where(mask[:, 1:].cumsum(1) > shared, self.ld_alpha, 1.0)
        exact = _exact(logps.device)
        sums = (logps * weights).sum(1), (logps.to(exact) * weights).sum(1)
        return torch.stack([half.to(exact) for values in sums for half in values.chunk(2)], 1)

    @contextlib.contextmanager
    def as_reference(self, policy: Policy) -> Iterator[Policy]:
        """Within this context what it yields is the reference, whatever that is in this run."""
        if self.ref_model is not None:
            yield dataclasses.replace(policy, model=self.accelerator.unwrap_model(self.ref_model))
            return
        network = self.accelerator.unwrap_model(self.model)
        # An adapter that is trained further has a frozen copy called "ref"; a fresh one is switched off.
        with use_adapter(network, "ref" if "ref" in network.peft_config else None):
            yield policy

    def open_reference_cache(self) -> None:
        """Read what earlier runs know of this reference; called once everything is in place."""
        if not self._cached:
            return
        network = self.accelerator.unwrap_model(self.model)
        attention = getattr(network.config, "_attn_implementation", None)
        precision = str(self.accelerator.mixed_precision), self.accelerator.device.type
        reference = self.accelerator.unwrap_model(self.ref_model) if self.ref_model is not None else network
        name = identity(reference, (type(network).__name__, precision, attention, self.ld_alpha))
        self.reference_cache = ReferenceCache(cache_directory() / "reference", name, self.accelerator.process_index)

    def step_zero(self, examples: list[dict[str, Any]]) -> dict[str, float]:
        """Measure the loss before the first update, in training mode, beside what it must be.

        Policy and reference are the same model then, so the loss must be what it is when the
        reference's log-probabilities are the policy's own: ln 2 for the sigmoid loss.  `expected`
        is computed that way, so it holds for every loss type.  `max_logp_gap` is the largest
        difference between policy and reference, in nats per answer.
        """
        inputs: Batch = self._prepare_inputs(self.data_collator(examples))
        self.model.train()
        self._metrics["train"].clear()
        self._seen["train"].clear()
        # As the updates and TRL's reference pass compute: the model itself is only cast from `train` on.
        with torch.no_grad(), self.accelerator.autocast():
            reference = self._reference_logps(inputs)
            loss = self._loss_against(reference, inputs)
            measured = self._measures("train")
            own = self._summed(self._scored(inputs), inputs)
            expected = self._loss_against(own, inputs)
        self._metrics["train"].clear()
        self._seen["train"].clear()
        self._total_train_tokens = 0
        measured.pop("num_tokens", None)
        # Every process looked at pairs of its own.
        losses = self.accelerator.gather(torch.stack([loss, expected])[None]).mean(0)
        gap = self.accelerator.gather((own - reference).abs().max()[None]).max()
        return {"loss": float(losses[0]), "expected": float(losses[1]), "max_logp_gap": float(gap), **measured}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log measures over the pairs since the last row, in place of the means of batch means."""
        mode = "train" if self.model.training else "eval"
        self._metrics[mode] |= {name: [value] for name, value in self._measures(mode).items()}
        super().log(logs, start_time)
        self._seen[mode].clear()

    def _measures(self, mode: str) -> dict[str, float]:
        """TRL's measures, those of pairs and tokens as `PairMeasures` has them."""
        means = {name: sum(values) / len(values) for name, values in self._metrics[mode].items()}
        return means | self._seen[mode].means()

    def continue_from(self, tokens: float | None) -> None:
        """Go on counting training tokens after a resume from a checkpoint of a version that kept no count."""
        self._total_train_tokens = int(tokens or 0)

    def sums(self) -> dict[str, Any]:
        """See `StagedCheckpoints.sums`; TRL sums its measures apart from the loss, and counts tokens."""
        measures = {name: list(values) for name, values in self._metrics["train"].items()}
        pairs = self._seen["train"].state()
        return super().sums() | {"measures": measures, "pairs": pairs, "tokens": self._total_train_tokens}

    def restore_sums(self, sums: dict[str, Any]) -> None:
        """See `StagedCheckpoints.restore_sums`."""
        super().restore_sums(sums)
        self._metrics["train"].update(sums["measures"])
        self._seen["train"].restore(sums["pairs"])
        self._total_train_tokens = sums["tokens"]

    def save_beside(self, checkpoint: Path) -> None:
        """A reference that follows the policy is another one at every checkpoint."""
        if self.args.sync_ref_model:
            save_model(self.accelerator.unwrap_model(self.ref_model), str(checkpoint / _REFERENCE))

    def restore_beside(self, checkpoint: Path) -> None:
        """The reference as it was."""
        if self.args.sync_ref_model:
            load_model(self.accelerator.unwrap_model(self.ref_model), str(checkpoint / _REFERENCE))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Before the checkpoint counts, so that a resume from here knows what an uninterrupted run knew.
        if self.reference_cache is not None:
            self.reference_cache.save()
        super()._save_checkpoint(model, trial)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        # Tokenised by `training.data`: TRL's truncation cuts EOS off and drops rows in silence.
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthGroupedSampler:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        return LengthGroupedSampler(
            dataset["length"], self.args.train_batch_size * self.args.world_size, self.args.seed
        )

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        # TRL writes one into the run at every save; ours is written beside the policy, once.
        return


def _share_embeddings(model: PreTrainedModel) -> None:
    """Let encoder and decoder have one module of embeddings, not two around one tensor.

    FSDP splits a tensor with the module that it is in, and refuses one that it finds in another group again.
    """
    shared = model.get_input_embeddings()
    for part in model.modules():
        own = getattr(part, "embed_tokens", None)
        if isinstance(own, torch.nn.Embedding) and own is not shared and own.weight is shared.weight:
            # Beside its modules: the model's own name for the tensor is the one that checkpoints have.
            del part._modules["embed_tokens"]
            part.__dict__["embed_tokens"] = shared


def _restore_adapter_dropout(model: torch.nn.Module, lora: LoraConfig | None) -> None:
    """Let the adapter's own dropout act again: TRL switches off every one, also what was asked for."""
    if lora is None or not lora.lora_dropout:
        return
    for name, module in model.named_modules():
        if "lora_dropout" in name and isinstance(module, torch.nn.Dropout):
            module.p = lora.lora_dropout


def _exact(device: torch.device) -> torch.dtype:
    """Double precision where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _without(inputs: Batch, names: tuple[str, ...]) -> Batch:
    return {name: value for name, value in inputs.items() if name not in names}
