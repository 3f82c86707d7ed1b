"""Answers being written, and those that advance together in one batch.

Filters are transformers' own, so distributions are too; random numbers are shared (`dpo.generation.noise`).

The strength of alignment can be turned while decoding: `logits = reference + lambda * (policy -
reference)` (Liu et al. 2024, "Decoding-time Realignment", arXiv 2402.02992, equation 9).  0 is the
reference and 1 the policy exactly: the other one's logits are not even computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dpo.errors import ConfigError
from dpo.generation.decoding import Decoding, Member
from dpo.generation.detokenizer import Writer
from dpo.generation.noise import Noise
from dpo.generation.pieces import End, Piece
from dpo.generation.settings import Sampling, check_lambda
from dpo.generation.token_sampler import Chooser
from dpo.policies.families import Ids, Prompt
from dpo.policies.loading import Policy


@dataclass(frozen=True, eq=False)
class AskedPolicy:
    """A policy that answers, how strongly it is aligned, and what its alignment is measured from.

    Without a `reference` an adapter policy is measured from its own base; a base is measured from
    itself.  `prompt` is what it answers, where policies have conversations of their own, and `encoded`
    its tokens, where they are known.
    """

    policy: Policy
    strength: float = 1.0
    reference: Policy | None = None
    prompt: Prompt | None = None
    encoded: Ids | None = None

    def with_prompt(self, prompt: Prompt) -> AskedPolicy:
        """The same with the tokens of its own prompt, or of this one, read once for all its answers.

        Raises:
            PromptError: blank, or too long for the policy.
        """
        if self.encoded is not None:
            return self
        asked = self.prompt or prompt
        return replace(self, prompt=asked, encoded=self.policy.encode_prompt(asked, reserve=1))

    def members(self, log_ratios: bool) -> tuple[Member | None, Member | None]:
        """(policy, reference): what has to be computed.

        Raises:
            ConfigError: a reference is needed and there is none.
        """
        strength = check_lambda(self.strength)
        tuned, wants_reference = Member(self.policy), log_ratios or strength != 1.0
        if not wants_reference or self.reference is self.policy:
            return tuned, None
        if self.reference is not None:
            if len(self.reference.tokenizer) > len(self.policy.tokenizer) or (
                self.reference.family.key != self.policy.family.key
            ):
                raise ConfigError(
                    f"{self.reference.name} can't be the reference of {self.policy.name}: they have different tokens"
                )
            base = Member(self.reference)
        elif hasattr(self.policy.model, "disable_adapter"):
            base = Member(self.policy, off=True)
        else:
            raise ConfigError(
                f"{self.policy.name} has no adapter to switch off: name its reference (the base it was tuned from)"
            )
        return (tuned if log_ratios or strength != 0.0 else None), base


@dataclass(eq=False)
class Track:
    """One answer being written."""

    asked: AskedPolicy
    place: int
    sample: int
    prompt: Prompt
    sampling: Sampling
    log_ratios: bool
    encoded: Ids = field(init=False)
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        policy = self.asked.policy
        encoded = self.asked.encoded
        self.encoded = policy.encode_prompt(self.prompt, reserve=1) if encoded is None else encoded
        self.room = min(self.sampling.max_new_tokens, policy.max_new_tokens(self.encoded))
        self.writer = Writer(policy, self.sampling.stop)
        self.tuned, self.base = self.asked.members(self.log_ratios)
        salt = "" if self.sampling.same_noise else policy.name
        # In a conversation the last question decides: base and tuned share their random numbers although their
        # own earlier answers differ.
        question = self.prompt if isinstance(self.prompt, str) else self.prompt[-1]["content"]
        self.source = (self.sampling.seed + self.sample, question, salt)
        self.rows: tuple[int | None, int | None] = (None, None)
        # What `generate` of transformers counts as written: GPT-2's prompt, T5's start token.
        start = policy.decoder_start if policy.family.has_encoder else None
        self.written = self.encoded if start is None else [start]

    def members(self) -> list[Member]:
        return [member for member in (self.tuned, self.base) if member is not None]

    def logits(self, all_logits: Sequence[Tensor | None]) -> Tensor:
        """What is sampled from, `(tokens,)`; rows of padding beyond the tokenizer's length are no tokens."""
        tuned, base = all_logits
        count = len(self.asked.policy.tokenizer)
        if base is None or (tuned is not None and self.asked.strength == 1.0):
            assert tuned is not None
            return tuned[:count]
        base = _widened(base[: len(self.base.policy.tokenizer) if self.base else count], count)
        if tuned is None or self.asked.strength == 0.0:
            return base
        return base + self.asked.strength * (tuned[:count] - base)

    def write(self, token: int, ratio: float | None) -> tuple[Piece, End | None]:
        """Append a token; the piece, and how the answer ended if it did."""
        writer = self.writer
        if token == self.asked.policy.eos_token_id:
            writer.ids.append(token)
            return self.piece("", None, ratio, token), "eos"
        text = writer.push(token)
        end: End | None = "stop" if writer.stopped else "length" if len(writer.ids) >= self.room else None
        return self.piece(text, None, ratio, token), end

    def last(self, end: End) -> Piece:
        text = self.writer.finish()
        return self.piece(text, "stop" if self.writer.stopped else end)

    def piece(self, text: str, end: End | None, ratio: float | None = None, token: int | None = None) -> Piece:
        return Piece(text, len(self.writer.ids), end, self.place, self.sample, ratio, token)


class Group:
    """Answers that advance together in one batch."""

    def __init__(self, tracks: list[Track], sampling: Sampling) -> None:
        self.tracks = tracks
        self.chooser = Chooser(sampling)
        self.noise = {track.source: Noise(*track.source) for track in tracks}
        self.decoding: Decoding | None = None
        self.drawn: list[int] = []

    def advance(self) -> Iterator[Piece]:
        """One token for each answer; answers that ended are dropped."""
        # Not around the yields: inference mode is the thread's, and the caller may be training.
        with torch.inference_mode():
            self._step()
            assert self.decoding is not None
            seen = [[None if row is None else self.decoding.logits[row] for row in t.rows] for t in self.tracks]
            logits = self._possible(self._stacked(seen))
            tokens = self.chooser.choose(logits, self._random_numbers(logits), self._history()).tolist()
            ratios = self._ratios(tokens)
        going, self.drawn = [], []
        for track, token, ratio in zip(list(self.tracks), tokens, ratios, strict=True):
            piece, end = track.write(token, ratio)
            yield piece
            if end is not None:
                yield track.last(end)
                continue
            going.append(track)
            self.drawn.append(token)
        self.tracks, dropped = going, len(going) < len(self.tracks)
        if going and dropped:
            with torch.inference_mode():
                self.decoding.keep(self._number_rows())

    def _step(self) -> None:
        if self.decoding is None:
            rows = [(member, track.encoded) for track in self.tracks for member in track.members()]
            self._number_rows()
            self.decoding = Decoding(rows)
            return
        fed = [token for track, token in zip(self.tracks, self.drawn, strict=True) for _ in track.members()]
        self.decoding.feed(torch.tensor(fed, device=self.decoding.device))

    def _number_rows(self) -> list[int]:
        """Number the rows of the answers anew; the old numbers, in the new order."""
        old = [row for track in self.tracks for row in track.rows if row is not None]
        number = iter(range(2 * len(self.tracks)))
        for track in self.tracks:
            track.rows = (next(number) if track.tuned else None, next(number) if track.base else None)
        return old

    def _ratios(self, tokens: Sequence[int]) -> list[float | None]:
        """log pi(token) - log pi_ref(token) of each answer, from the models as they are: no temperature, no filters."""
        assert self.decoding is not None
        # Without a second row a policy is its own reference, or was not asked.
        found: list[float | None] = [0.0 if track.log_ratios else None for track in self.tracks]
        both = [place for place, track in enumerate(self.tracks) if None not in track.rows]
        if both:
            drawn = torch.tensor([tokens[place] for place in both], device=self.decoding.device)[:, None]
            sides = []
            for side in (0, 1):
                logits = self.decoding.logits[[self.tracks[place].rows[side] for place in both]]
                sides.append(logits.gather(1, drawn)[:, 0] - logits.logsumexp(-1))
            for place, ratio in zip(both, (sides[0] - sides[1]).tolist(), strict=True):
                found[place] = ratio
        return found

    def _stacked(self, seen: Sequence[Sequence[Tensor | None]]) -> Tensor:
        rows = [track.logits(x) for track, x in zip(self.tracks, seen, strict=True)]
        return torch.stack(rows)

    def _possible(self, logits: Tensor) -> Tensor:
        """-inf for tokens of which, after what each answer has, no character can come."""
        tables = [track.asked.policy.characters for track in self.tracks]
        states = [track.writer.state for track in self.tracks]
        first = tables[0]
        if all(table is first for table in tables):
            return logits if first is None else first.mask(logits, states)
        parts = zip(tables, states, logits.split(1), strict=True)
        return torch.cat([row if table is None else table.mask(row, [state]) for table, state, row in parts])

    def _random_numbers(self, logits: Tensor) -> Tensor | None:
        if self.chooser.greedy:
            return None
        position, count = len(self.tracks[0].writer.ids), logits.size(-1)
        sources = dict.fromkeys(track.source for track in self.tracks)
        drawn = {source: self.noise[source].at(position, count) for source in sources}
        return torch.stack([drawn[track.source] for track in self.tracks]).to(logits.device)

    def _history(self) -> list[Ids] | None:
        return [t.written + t.writer.ids for t in self.tracks] if self.chooser.wants_history else None


def groups_of(tracks: Sequence[Track], sampling: Sampling) -> list[Group]:
    """Answers by what can be stepped together: all models of an answer, and of all answers in it, have one shape."""
    by_shape: dict[object, list[Track]] = {}
    for track in tracks:
        shapes = {member.shape for member in track.members()}
        key: object = (*shapes, len(track.asked.policy.tokenizer)) if len(shapes) == 1 else track
        if hasattr(track.asked.policy.network.config, "window_size"):
            # GPT-Neo's mask is as long as its context, and padding before a short prompt would count.
            key = (key, len(track.encoded))
        by_shape.setdefault(key, []).append(track)
    return [Group(group, sampling) for group in by_shape.values()]


def _widened(logits: Tensor, count: int) -> Tensor:
    """Logits for `count` tokens: a token that the reference lacks is as unlikely as its unlikeliest one."""
    missing = count - logits.size(-1)
    return logits if missing <= 0 else torch.cat([logits, logits.min().expand(missing)])
