"""A judge that is a sequence classifier with one output: the higher its score of an answer, the better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dpo.errors import PolicyError
from dpo.evaluation.comparison.judges import Duel, Verdict, Winner
from dpo.evaluation.comparison.rows import Row
from dpo.hub import offline
from dpo.policies.loading import explained, pick_device
from dpo.policies.names import resolve

_AT_ONCE = 8
_ROUNDING = 1e-5  # scores nearer than this are equal: padding alone moves them as much


class RewardModel:
    """Scores prompt and answer together, by the model's chat template where it has one, else as a pair of texts.

    Raises:
        PolicyError: not found, no safetensors, not a classifier with one output, or its head is missing.
    """

    def __init__(self, name: str, device: str = "auto") -> None:
        source = resolve(name)
        if source.kind == "hub":
            offline()
        with explained(source):
            self.tokenizer: Any = AutoTokenizer.from_pretrained(source.location, trust_remote_code=False)
            model, found = AutoModelForSequenceClassification.from_pretrained(
                source.location, output_loading_info=True, use_safetensors=True, trust_remote_code=False,
                dtype=torch.float32,
            )  # fmt: skip
        if found["missing_keys"] or model.config.num_labels != 1:
            raise PolicyError(
                f"{name} is no reward model: it needs a trained head with one output "
                f"(it has {model.config.num_labels} outputs, {len(found['missing_keys'])} weights are missing)"
            )
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        model.config.pad_token_id = self.tokenizer.pad_token_id
        self.model = model.to(pick_device(device)).eval()
        self.most = getattr(model.config, "max_position_embeddings", None)

    def judge(self, duels: Sequence[Duel]) -> list[Verdict]:
        """Score both answers; `invalid` where one does not fit into the model's context."""
        asked = [(duel.prompt, text) for duel in duels for text in (duel.first, duel.second)]
        scores = self.scores(asked)
        return [_verdict(*pair) for pair in zip(scores[::2], scores[1::2], strict=True)]

    @torch.inference_mode()
    def scores(self, asked: Sequence[tuple[Row, str]]) -> list[float | None]:
        """The score of each prompt and answer; None where they do not fit."""
        rows = [self._encoded(prompt, text) for prompt, text in asked]
        fitting = [place for place, row in enumerate(rows) if self.most is None or len(row["input_ids"]) <= self.most]
        fitting.sort(key=lambda place: len(rows[place]["input_ids"]))
        found: list[float | None] = [None] * len(rows)
        for start in range(0, len(fitting), _AT_ONCE):
            places = fitting[start : start + _AT_ONCE]
            batch = self.tokenizer.pad([rows[place] for place in places], return_tensors="pt", padding_side="right")
            batch = {name: value.to(self.model.device) for name, value in batch.items()}
            for place, score in zip(places, self.model(**batch).logits[:, 0].tolist(), strict=True):
                found[place] = score
        return found

    def _encoded(self, prompt: Row, text: str) -> dict[str, list[int]]:
        if getattr(self.tokenizer, "chat_template", None):
            turns = prompt["messages"] or [{"role": "user", "content": prompt["prompt"]}]
            turns = [*turns, {"role": "assistant", "content": text}]
            return dict(self.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True))
        return dict(self.tokenizer(prompt["prompt"], text))


def _verdict(first: float | None, second: float | None) -> Verdict:
    if first is None or second is None:
        return Verdict("invalid", raw="an answer does not fit into the judge's context")
    winner: Winner = "tie" if abs(first - second) < _ROUNDING else "a" if first > second else "b"
    return Verdict(winner, (first, second))
