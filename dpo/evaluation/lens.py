"""The DPO reward token by token.

The implicit reward of an answer is a sum over its tokens (Rafailov et al. 2023, section 5; Rafailov
et al. 2024, "From r to Q*"): `beta * sum_t [log pi(y_t | x, y_<t) - log pi_ref(y_t | x, y_<t)]`.
The lens shows each term, with what else policy and reference would have said there.

Shift classes are those of Lin et al. 2023 (URIAL, section 2.2): a position is unshifted where the
policy's likeliest token is also the reference's, marginal where it is among the reference's three
likeliest, and shifted otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any, Literal

import torch
from torch import Tensor

from dpo.counting import counted
from dpo.errors import PolicyError, PromptError
from dpo.evaluation.tuning import Tuning, tuning_of
from dpo.evaluation.units import UNITS, spans
from dpo.notebook import NotebookView, PlotLine, Sheet
from dpo.policies.families import Batch, Ids, Prompt
from dpo.policies.loading import Policy, fit_embeddings, load_policy
from dpo.policies.positions import Positions, check_length, positions_of, token_text

Shift = Literal["unshifted", "marginal", "shifted"]
_MARGINAL = 3


@dataclass(frozen=True)
class Candidate:
    """A token that could have come, and its probability."""

    text: str
    share: float


@dataclass(frozen=True)
class TokenLook:
    """One token of a text.

    `text` is what it adds to the text: nothing for EOS and where a character goes on in the next
    token; `piece` is how the token is written.  Log-probabilities are in nats, `reward` is beta
    times their difference.  Ranks start at 1.
    """

    id: int
    text: str
    piece: str
    reward: float
    policy_logp: float
    reference_logp: float
    policy_rank: int
    reference_rank: int
    shift: Shift
    policy_top: tuple[Candidate, ...]
    reference_top: tuple[Candidate, ...]


@dataclass(frozen=True)
class TextLook(NotebookView):
    """A text's tokens, EOS last; `cut` says that the text went on and the trainer would have cut it here."""

    tokens: tuple[TokenLook, ...]
    cut: bool = False

    def sheet(self) -> Sheet:
        """Its tokens and their rewards, as a notebook shows them."""
        names = ("piece", "reward", "policy_logp", "reference_logp", "policy_rank", "reference_rank", "shift")
        columns = {name: [getattr(token, name) for token in self.tokens] for name in names}
        bars = PlotLine("reward", list(range(len(self.tokens))), columns["reward"], bars=True)
        title = f"Reward {self.reward:+.3f} over {counted(len(self.tokens), 'token')}"
        return Sheet(title, columns, [bars], "token", "reward, nats")

    @property
    def reward(self) -> float:
        """The implicit reward: what the trainer logs as `rewards/*` for this answer."""
        return math.fsum(token.reward for token in self.tokens)

    @property
    def policy_logp(self) -> float:
        """log pi(text), nats."""
        return math.fsum(token.policy_logp for token in self.tokens)

    @property
    def reference_logp(self) -> float:
        """log pi_ref(text), nats."""
        return math.fsum(token.reference_logp for token in self.tokens)

    @property
    def shifts(self) -> dict[Shift, float]:
        """Share of unshifted, marginal and shifted positions."""
        kinds: tuple[Shift, ...] = ("unshifted", "marginal", "shifted")
        counts = [sum(token.shift == kind for token in self.tokens) for kind in kinds]
        return {kind: count / len(self.tokens) for kind, count in zip(kinds, counts, strict=True)}

    def record(self) -> dict[str, Any]:
        """Everything as plain values, with the tokens grouped into units."""
        pieces = [token.text for token in self.tokens]
        return {
            "reward": self.reward,
            "reward_per_token": self.reward / len(self.tokens),
            "policy_logp": self.policy_logp,
            "reference_logp": self.reference_logp,
            "cut": self.cut,
            "shifts": self.shifts,
            "units": {unit: spans(pieces, unit) for unit in UNITS},
            "tokens": [asdict(token) for token in self.tokens],
        }


@dataclass
class Lens:
    """A policy beside its reference.

    `reference` is None where the reference is the policy with its adapter off.  Example:

    >>> lens = open_lens("demo/gpt2-dpo", device="cpu")
    >>> [look] = lens.look("Do you like tea?", ["I love tea!"])
    >>> "".join(token.text for token in look.tokens)
    'I love tea!'
    """

    policy: Policy
    reference: Policy | None
    tuning: Tuning
    _visible: dict[int, str] = field(default_factory=dict)

    def look(self, prompt: Prompt, texts: Sequence[str]) -> list[TextLook]:
        """The reward of each text's tokens, given the prompt: a question, or messages with `role` and `content`.

        Raises:
            PromptError: the prompt is blank, or prompt and text do not fit into the context.
        """
        question = self.question(prompt)
        answers, cuts = self.answers(texts)
        for answer in answers:
            self.check(question, answer)
        batch, labels = self.batch([question], answers)
        both = self._both(batch, labels)
        mask = labels[:, 1:] != -100
        made, start = [], 0
        for answer, text, cut in zip(answers, texts, cuts, strict=True):
            rows = slice(start, start + len(answer))
            start += len(answer)
            made.append(TextLook(self._tokens(answer, text, [part.rows(rows) for part in both]), cut))
        assert start == int(mask.sum())
        return made

    def question(self, prompt: Prompt) -> Ids:
        """The prompt's tokens as the trainer would have seen them: its end, where it was too long."""
        if not (prompt if isinstance(prompt, str) else prompt[-1]["content"]).strip():
            raise PromptError("The prompt is blank: write a question or a sentence")
        ids = self.policy.family.encode_prompts(self.policy.tokenizer, [prompt])[0]
        limit = self.tuning.max_prompt
        return ids[-limit:] if limit else ids

    def answers(self, texts: Sequence[str]) -> tuple[list[Ids], list[bool]]:
        """Tokens of each text, cut as the trainer would have (EOS kept), and whether they were cut."""
        encoded = self.policy.family.encode_completions(self.policy.tokenizer, texts)
        limit = self.tuning.max_completion
        cuts = [limit is not None and len(ids) > limit for ids in encoded]
        choices = [
            [*ids[: limit - 1], ids[-1]] if cut and limit is not None else ids
            for ids, cut in zip(encoded, cuts, strict=True)
        ]
        return choices, cuts

    def check(self, question: Ids, answer: Ids) -> None:
        """Refuse what does not fit into the policy's context.

        Raises:
            PromptError: in one line, with the numbers.
        """
        check_length(self.policy, question, answer)

    def batch(self, questions: Sequence[Ids], answers: Sequence[Ids]) -> tuple[Batch, Tensor]:
        """Model inputs and labels; answer `i` belongs to question `i % len(questions)`."""
        policy = self.policy
        batch = policy.family.unshared.collate(questions, answers, policy.pad_token_id, policy.decoder_start)
        batch = {name: value.to(policy.device) for name, value in batch.items()}
        return batch, batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)

    @torch.no_grad()
    def _both(self, batch: Batch, labels: Tensor) -> list[Positions]:
        ours = positions_of(self.policy, batch, labels)
        # Where the policy's likeliest token stands with the reference decides the shift class.
        likeliest, tokens = ours.top_ids[:, 0], len(self.policy.tokenizer)
        if self.reference is not None:
            return [ours, positions_of(self.reference, batch, labels, likeliest, tokens)]
        with self.policy.reference():
            return [ours, positions_of(self.policy, batch, labels, likeliest, tokens)]

    def _tokens(self, ids: Ids, text: str, sides: list[Positions]) -> tuple[TokenLook, ...]:
        ours, theirs = sides
        pieces = self._pieces(ids, text)
        beta = self.tuning.beta
        tokens = []
        for index, (token, piece) in enumerate(zip(ids, pieces, strict=True)):
            policy_logp, reference_logp = float(ours.log_probs[index]), float(theirs.log_probs[index])
            tokens.append(
                TokenLook(
                    id=token,
                    text=piece,
                    piece=self._shown(token),
                    reward=beta * (policy_logp - reference_logp),
                    policy_logp=policy_logp,
                    reference_logp=reference_logp,
                    policy_rank=int(ours.ranks[index]),
                    reference_rank=int(theirs.ranks[index]),
                    shift=_shift(int(theirs.of_likeliest[index])),
                    policy_top=self._candidates(ours, index),
                    reference_top=self._candidates(theirs, index),
                )
            )
        return tuple(tokens)

    def _candidates(self, side: Positions, index: int) -> tuple[Candidate, ...]:
        pairs = zip(side.top_ids[index].tolist(), side.top_logps[index].exp().tolist(), strict=True)
        return tuple(Candidate(self._shown(token), share) for token, share in pairs)

    def _pieces(self, ids: Ids, text: str) -> list[str]:
        """What each token adds to the text; a character of several tokens comes with its last one."""
        shown, made = 0, []
        for end in range(1, len(ids) + 1):
            so_far = self.policy.decode(ids[:end])
            if not text.startswith(so_far):
                # Bytes of a character that is not whole yet decode to something else.
                same = takewhile(lambda pair: pair[0] == pair[1], zip(text, so_far, strict=False))
                so_far = "".join(character for character, _ in same)
            made.append(text[shown : len(so_far)])
            shown = max(shown, len(so_far))
        return made

    def _shown(self, token: int) -> str:
        """A token by itself: its text where it has one, else its name in the vocabulary."""
        if token not in self._visible:
            self._visible[token] = token_text(self.policy.tokenizer, token)
        return self._visible[token]


def open_lens(
    name: str,
    *,
    reference: str | None = None,
    beta: float | None = None,
    device: str = "auto",
    load: Callable[..., Policy] = load_policy,
) -> Lens:
    """Load a policy and its reference.

    Args:
        reference: a policy's name, in place of the recorded reference.
        beta: in place of the recorded one.

    Raises:
        PolicyError: not found, no reference known, or policy and reference read text differently.
    """
    tuning = tuning_of(name, reference, beta)
    policy = load(name, device=device)
    if tuning.reference is None:
        return Lens(policy, None, tuning)
    other = load(tuning.reference, device=device)
    known, vocabulary = other.tokenizer.get_vocab(), policy.tokenizer.get_vocab()
    if policy.family.key != other.family.key or any(vocabulary.get(piece) != token for piece, token in known.items()):
        raise PolicyError(
            f"{name} and {tuning.reference} have different vocabularies, so their log-probabilities cannot be "
            "compared: name the policy it was tuned from with --reference"
        )
    # Tokens that training added start in the reference as they did in the policy.
    fit_embeddings(other.network, len(policy.tokenizer), range(len(other.tokenizer), len(policy.tokenizer)))
    return Lens(policy, other, tuning)


def _shift(rank: int) -> Shift:
    if rank == 1:
        return "unshifted"
    return "marginal" if rank <= _MARGINAL else "shifted"
