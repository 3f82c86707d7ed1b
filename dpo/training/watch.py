"""What is decided at every held-out evaluation: which policy is the best, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dpo.policies.divergence import divergence, sampled_answers
from dpo.policies.families import Ids
from dpo.policies.loading import Policy, save_tokenizer
from dpo.publishing.directories import usual_modes
from dpo.runs import RunRecord
from dpo.training.checkpoints import staged
from dpo.training.config import BEST_BY, TrainConfig
from dpo.training.precision import without_autocast

_ANSWER_TOKENS = 64


class Watch(TrainerCallback):
    """Keeps the best policy, stops when it gets no better, and stops when it has drifted too far.

    Example of what it leaves in `run.json`: `"best": {"step": 40, "by": "margin", "value": 0.31}`.

    Args:
        save: writes the policy as it is now into a directory (every process calls it).
        drift: measures KL(policy || reference) in nats, of the first 64 tokens of an answer, or None.
    """

    def __init__(
        self,
        config: TrainConfig,
        record: RunRecord,
        save: Callable[[Path], None],
        drift: Callable[[], float] | None,
        log: Callable[[dict[str, float]], None],
    ) -> None:
        self.config, self.record, self.save, self.drift, self.log = config, record, save, drift, log
        self.best: dict[str, Any] | None = record.info.get("best")
        self.reason: str | None = None
        self._worse = int((self.best or {}).get("evaluations_since", 0))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.config.keep_best != "none" and metrics is not None:
            self._judge(state, control, metrics)
        if self.drift is not None:
            kl = self.drift()
            self.log({"eval_kl": kl})
            if self.config.kl_budget is not None and kl > self.config.kl_budget:
                self._stop(control, f"KL budget spent: {kl:.3g} of {self.config.kl_budget:g} nats")

    def _judge(self, state: TrainerState, control: TrainerControl, metrics: dict[str, float]) -> None:
        name, more = BEST_BY[self.config.keep_best]
        value = metrics.get(name)
        if value is None:
            return
        before = None if self.best is None else self.best["value"]
        if before is None or (value > before if more else value < before):
            self._worse = 0
            self.save(self.record.path / "best")
            self.best = {"step": state.global_step, "by": self.config.keep_best, "value": value}
        else:
            self._worse += 1
        self.record.update(best=(self.best or {}) | {"evaluations_since": self._worse})
        if self.config.early_stopping is not None and self._worse >= self.config.early_stopping:
            step = (self.best or {}).get("step")
            self._stop(control, f"stopped early: no better held-out {self.config.keep_best} since step {step}")

    def _stop(self, control: TrainerControl, reason: str) -> None:
        self.reason = self.reason or reason
        control.should_training_stop = control.should_save = True


def save_weights(trainer: Trainer, policy: Policy, directory: Path) -> None:
    """Write weights and tokenizer; every process takes part, the first one writes."""
    state = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.is_world_process_zero():
        with staged(directory) as staging:
            model = trainer.accelerator.unwrap_model(trainer.model)
            # An adapter that is trained further has a frozen copy beside it, which is nobody's policy.
            only = {"selected_adapters": ["default"]} if isinstance(model, PeftModel) else {}
            model.save_pretrained(staging, state_dict=state, **only)
            save_tokenizer(policy.tokenizer, staging)
            usual_modes(staging)
    trainer.accelerator.wait_for_everyone()


def drift_monitor(
    policy: Policy,
    as_reference: Callable[[Policy], AbstractContextManager[Policy]],
    prompts: Sequence[Ids],
    seed: int,
) -> Callable[[], float]:
    """A function that measures the mean KL of fresh answers to `prompts`, each time with the same luck."""

    def measure() -> float:
        training = policy.model.training
        policy.model.eval()
        try:
            room = min(policy.max_new_tokens(ids) for ids in prompts)
            with without_autocast(policy.model):
                answers = sampled_answers(policy, prompts, min(_ANSWER_TOKENS, room), seed)
                return float(divergence(policy, prompts, answers, as_reference(policy)).mean())
        finally:
            policy.model.train(training)

    return measure
