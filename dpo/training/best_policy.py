"""What is decided at every held-out evaluation: which policy is the best, and when to stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from dpo.policies.divergence import ANSWER_TOKENS, divergence, sampled_answers
from dpo.policies.families import Ids
from dpo.policies.loading import Policy, save_tokenizer
from dpo.publishing.directories import usual_modes
from dpo.runs import RunRecord
from dpo.runs.manifest import MANIFEST
from dpo.training.checkpoints import copy_tree, staged
from dpo.training.config import BEST_BY, TrainConfig
from dpo.training.precision import without_autocast

POLICY = "policy"
BEST = "best"  # the folder of the best policy so far, in a run and in its checkpoints


class Watch(TrainerCallback, ExportableState):
    """Keeps the best policy, stops when it gets no better, and stops when it has drifted too far.

    Example of what it leaves in `run.json`: `"best": {"step": 40, "by": "margin", "value": 0.31}`.  What it knows
    is also in every checkpoint, and a resume goes on from that: `run.json` may be ahead of the checkpoint.

    Args:
        save: writes the policy as it is now into a directory (every process calls it).
        drift: measures at an evaluation, or None: `kl`, KL(policy || reference) in nats, of the first 64 tokens of an
            answer, and whatever else.
        wins: measures the win rate against the policy's start, or None.
    """

    def __init__(
        self,
        config: TrainConfig,
        record: RunRecord,
        save: Callable[[Path], None],
        drift: Callable[[], dict[str, float]] | None,
        wins: Callable[[], dict[str, float]] | None,
        log: Callable[[dict[str, float]], None],
    ) -> None:
        self.config, self.record, self.save, self.log = config, record, save, log
        self.drift, self.wins = drift, wins
        self.best: dict[str, Any] | None = None
        self.reason: str | None = None
        self.worse = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold: the best evaluation so far, how many came since, and why to stop."""
        return {"args": {}, "attributes": {"best": self.best, "worse": self.worse, "reason": self.reason}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step > 0:
            stored = state.stateful_callbacks.get(type(self).__name__)
            known = stored["attributes"] if stored is not None else self._older_state(state.global_step)
            self.best, self.worse, self.reason = known["best"], known["worse"], known["reason"]
        # The Trainer updates the entries that are there.
        state.stateful_callbacks[type(self).__name__] = self.state()
        if self.config.keep_best != "none":
            self._note_best()
        if self.reason is not None:
            control.should_training_stop = True

    def _older_state(self, step: int) -> dict[str, Any]:
        """For a checkpoint of a version without this state: what `run.json` says, if it was so by then and is there."""
        best = self.record.info.get("best")
        if not isinstance(best, dict) or best.get("step", step) > step or not (self.record.path / BEST).is_dir():
            return {"best": None, "worse": 0, "reason": None}
        known = {name: best.get(name) for name in ("step", "by", "value")}
        return {"best": known, "worse": int(best.get("evaluations_since") or 0), "reason": None}

    def _note_best(self) -> None:
        self.record.update(best=None if self.best is None else self.best | {"evaluations_since": self.worse})

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.wins is not None:
            won = self.wins()
            if won:
                self.log(won)
            metrics = (metrics or {}) | won
        if self.config.keep_best != "none" and metrics is not None:
            self._judge(state, control, metrics)
        if self.drift is not None:
            measured = self.drift()
            self.log({f"eval_{name}": value for name, value in measured.items()})
            kl = measured["kl"]
            if self.config.kl_budget is not None and kl > self.config.kl_budget:
                self._stop(control, f"KL budget spent: {kl:.3g} of {self.config.kl_budget:g} nats")

    def _judge(self, state: TrainerState, control: TrainerControl, metrics: dict[str, float]) -> None:
        name, more = BEST_BY[self.config.keep_best]
        value = metrics.get(name)
        if value is None:
            return
        before = None if self.best is None else self.best["value"]
        if before is None or (value > before if more else value < before):
            self.worse = 0
            self.save(self.record.path / BEST)
            self.best = {"step": state.global_step, "by": self.config.keep_best, "value": value}
        else:
            self.worse += 1
        self._note_best()
        if self.config.early_stopping is not None and self.worse >= self.config.early_stopping:
            step = (self.best or {}).get("step")
            self._stop(control, f"stopped early: no better held-out {self.config.keep_best} since step {step}")

    def _stop(self, control: TrainerControl, reason: str) -> None:
        self.reason = self.reason or reason
        control.should_training_stop = control.should_save = True


def restore_best(record: RunRecord, checkpoint: Path | None) -> None:
    """Make the run's best policy what it was at `checkpoint` (None: there was none yet)."""
    best = record.path / BEST
    stored = checkpoint / BEST / POLICY if checkpoint is not None else None
    if checkpoint is not None and not (checkpoint / MANIFEST).exists():
        # Of an older version: a stop moved the best policy to where the result is.
        stored = record.path / POLICY if record.info.get("best") and not best.is_dir() else best
    if stored is None or not stored.is_dir():
        shutil.rmtree(best, ignore_errors=True)
    elif stored != best:
        with staged(best) as directory:
            copy_tree(stored, directory)


def save_weights(
    trainer: Trainer, policy: Policy, directory: Path, finish: Callable[[Path], None] = lambda directory: None
) -> None:
    """Write weights and tokenizer; every process takes part, the first one writes, and `finish` what belongs there."""
    state = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.is_world_process_zero():
        with staged(directory) as staging:
            model = trainer.accelerator.unwrap_model(trainer.model)
            # An adapter that is trained further has a frozen copy beside it, which is nobody's policy.
            only = {"selected_adapters": ["default"]} if isinstance(model, PeftModel) else {}
            model.save_pretrained(staging, state_dict=state, **only)
            save_tokenizer(policy.tokenizer, staging)
            finish(staging)
            usual_modes(staging)
    trainer.accelerator.wait_for_everyone()


def drift_monitor(
    policy: Policy,
    as_reference: Callable[[Policy], AbstractContextManager[Policy]],
    prompts: Sequence[Ids],
    seed: int,
    also: Callable[[], dict[str, float]] = dict,
) -> Callable[[], dict[str, float]]:
    """A function that measures `kl`, that of fresh answers to `prompts`, each time with the same random numbers.

    What `also` measures stands beside it; it is called while the model is as for an evaluation.
    """

    def measure() -> dict[str, float]:
        training = policy.model.training
        policy.model.eval()
        try:
            room = min(policy.max_new_tokens(ids) for ids in prompts)
            with without_autocast(policy.model):
                answers = sampled_answers(policy, prompts, min(ANSWER_TOKENS, room), seed)
                kl = float(divergence(policy, prompts, answers, as_reference(policy)).mean())
                return {"kl": kl} | also()
        finally:
            policy.model.train(training)

    return measure
