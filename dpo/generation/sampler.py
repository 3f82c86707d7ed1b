"""One decode loop for both families, with a KV cache, streaming or in batches.

Policies of one architecture advance together in one batch, others take turns token by token (`dpo.generation.tracks`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch

from dpo.errors import ConfigError
from dpo.generation.beams import search
from dpo.generation.detokenizer import Writer
from dpo.generation.pieces import End, Generation, Piece
from dpo.generation.settings import Sampling
from dpo.generation.tracks import AskedPolicy, Track, groups_of
from dpo.policies.families import Prompt
from dpo.policies.loading import Policy

_SMALL = 30_000_000
_THREADS = torch.get_num_threads()


def stream(
    policy: Policy, prompt: Prompt, sampling: Sampling, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Piece]:
    """Answer one prompt token by token; `cancelled` is asked before each token.

    No piece ends within a character: the bytes of an emoji are held back until they are whole.

    Raises:
        PromptError: blank, or too long for the policy's context.
        ConfigError: sampling values out of range.
    """
    yield from answer([AskedPolicy(policy)], prompt, sampling, cancelled=cancelled)


def answer(
    policies: Sequence[AskedPolicy],
    prompt: Prompt,
    sampling: Sampling,
    *,
    samples: int = 1,
    log_ratios: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Piece]:
    """Let several policies answer one prompt at once, token by token.

    Sample `k` of a seed is what the seed `seed + k` gives.

    Args:
        prompt: for every policy that has none of its own.
        samples: answers of each policy.
        log_ratios: also measure every token against its policy's reference; where lambda has it computed, that
            is done in any case.
        cancelled: asked before each token.

    Raises:
        PromptError: blank, or too long for one of the policies.
        ConfigError: settings out of range, or a reference is missing.
    """
    sampling.validate()
    asked = [policy.with_prompt(prompt) for policy in policies]
    if sampling.beams > 1:
        yield from _search(asked, sampling, samples, log_ratios, cancelled)
        return
    tracks = [
        Track(policy, place, sample, policy.prompt or prompt, sampling, log_ratios)
        for place, policy in enumerate(asked)
        for sample in range(samples)
    ]
    groups = groups_of(tracks, sampling)
    while groups:
        for group in groups:
            if cancelled():
                for left in groups:
                    for track in left.tracks:
                        yield track.last("cancelled")
                return
            yield from group.advance()
        groups = [group for group in groups if group.tracks]


def generate(
    policy: Policy, prompts: Sequence[Prompt], sampling: Sampling, *, batch_size: int = 32
) -> list[Generation]:
    """Answer prompts in batches; each answer is the one `stream` would give.

    >>> from dpo import load_policy
    >>> [answer] = generate(load_policy("demo/gpt2"), ["Do you like tea?"], Sampling(max_new_tokens=8))
    >>> answer.tokens <= 8
    True

    Raises:
        PromptError: a prompt is blank or too long.
        ConfigError: sampling values out of range.
    """
    sampling.validate()
    results: list[Generation] = []
    asked = AskedPolicy(policy)
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        began = time.perf_counter()
        if sampling.beams > 1:
            found = [list(answer([asked], prompt, sampling))[-1] for prompt in batch]
            results += [Generation(p.text, p.tokens, p.end or "length", time.perf_counter() - began) for p in found]
            continue
        tracks = [Track(asked, 0, 0, prompt, sampling, False) for prompt in batch]
        last: dict[int, Piece] = {}
        for index, track in enumerate(tracks):
            track.sample = index  # its pieces carry it; its random numbers are chosen already
        for group in groups_of(tracks, sampling):
            while group.tracks:
                last.update({piece.sample: piece for piece in group.advance() if piece.end is not None})
        seconds = time.perf_counter() - began
        for index, track in enumerate(tracks):
            piece = last[index]
            assert piece.end is not None
            results.append(Generation(track.writer.text, piece.tokens, piece.end, seconds))
    return results


def suit_threads(policy: Policy) -> None:
    """One CPU thread for small models: at their size handing work between threads costs more than it saves.

    Measured on two cores: 164 tokens/s with one thread, 37 with two beside another busy process.
    """
    if policy.device.type == "cpu":
        small = sum(parameter.numel() for parameter in policy.model.parameters()) < _SMALL
        torch.set_num_threads(1 if small else _THREADS)


def _search(
    policies: Sequence[AskedPolicy], sampling: Sampling, samples: int, log_ratios: bool, cancelled: Callable[[], bool]
) -> Iterator[Piece]:
    if samples > 1 or log_ratios or any(policy.strength != 1.0 for policy in policies):
        raise ConfigError(
            "Beam search gives one answer of the policy as it is: use 1 sample, lambda 1 and no reward tint"
        )
    for place, asked in enumerate(policies):
        writer = Writer(asked.policy, sampling.stop)
        assert asked.encoded is not None
        ids, given_up = search(asked.policy, asked.encoded, sampling, cancelled)
        text = "".join(writer.push(token) for token in ids if not writer.stopped)
        end: End = "eos" if ids[-1:] == [asked.policy.eos_token_id] else "length"
        text += writer.finish()
        yield Piece(text, len(ids), "cancelled" if given_up else "stop" if writer.stopped else end, place)
