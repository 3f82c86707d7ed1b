"""Four arms at once against four `generate` calls one after the other, and what each feature costs.

    python benchmarks/generation.py                     the bundled policies
    python benchmarks/generation.py --size published    shapes of t5-small and gpt2, random weights

Both sides sample with the same settings and stream their text.  Times are taken in turns, so that a
drift of the machine meets all alike; ratios are of tokens per second, round by round.
"""

from __future__ import annotations

import argparse
import copy
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from flask import Flask
from shapes import SHAPES, machine
from shapes import policy as random_policy
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, TextStreamer
from waitress.server import create_server

from dpo.dashboard import api, web
from dpo.dashboard.web.access import LOCAL
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.streams import Streams
from dpo.generation.engine import Engine
from dpo.generation.jobs import Job
from dpo.generation.sampler import answer, generate, suit_threads
from dpo.generation.settings import Sampling
from dpo.generation.store import PolicyStore
from dpo.generation.tracks import AskedPolicy
from dpo.policies.caches import cached, empty_cache
from dpo.policies.families import Prompt
from dpo.policies.loading import Policy
from dpo.policies.scoring import score
from dpo.policies.text import wrap
from dpo.preferences import load_preferences

PROMPT = "Do you have a favorite food?"
DEMO = ("demo/t5", "demo/t5-dpo", "demo/gpt2", "demo/gpt2-dpo")


class Silent(TextStreamer):  # type: ignore[misc]
    """Decodes as it goes, like the streamer that prints, and notes when the first token came."""

    first: float | None = None

    def put(self, value: Any) -> None:
        super().put(value)
        if not self.next_tokens_are_prompt and self.first is None:
            self.first = time.perf_counter()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        pass


def sequential(policies: list[Policy], sampling: Sampling) -> tuple[int, float, list[float]]:
    """Tokens, seconds and first-token times of four `generate` calls, one after the other."""
    began, tokens, firsts = time.perf_counter(), 0, []
    for policy in policies:
        suit_threads(policy)
        torch.manual_seed(sampling.seed)
        ids = torch.tensor([policy.encode_prompt(PROMPT)])
        streamer = Silent(policy.tokenizer, skip_prompt=True, skip_special_tokens=True)
        config = GenerationConfig(
            do_sample=True, temperature=sampling.temperature, top_p=sampling.top_p, top_k=0,
            max_new_tokens=sampling.max_new_tokens, eos_token_id=policy.eos_token_id,
            pad_token_id=policy.pad_token_id, decoder_start_token_id=policy.decoder_start,
        )  # fmt: skip
        seq2seq = policy.family.has_encoder
        # The policies say in their files that training has no use for a cache; generation does.
        out = policy.model.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config, streamer=streamer,
            use_cache=True, **cached(empty_cache(seq2seq)),
        )  # fmt: skip
        tokens += out.size(1) - (1 if seq2seq else ids.size(1))
        firsts.append((streamer.first or time.perf_counter()) - began)
    return tokens, time.perf_counter() - began, firsts


def together(arms: list[AskedPolicy], sampling: Sampling, **options: Any) -> tuple[int, float, list[float]]:
    """Tokens, seconds and first-token times of all arms at once."""
    suit_threads(max((arm.policy for arm in arms), key=lambda p: p.network.num_parameters()))
    began, tokens = time.perf_counter(), 0
    firsts: dict[int, float] = {}
    prompt: Prompt = PROMPT
    for piece in answer(arms, prompt, sampling, **options):
        firsts.setdefault(piece.place, time.perf_counter() - began)
        if piece.end is not None:
            tokens += piece.tokens
    return tokens, time.perf_counter() - began, list(firsts.values())


def converted(policies: list[Policy], sampling: Sampling, compute: Any) -> tuple[int, float, list[float]]:
    """The same with CTranslate2, one policy after the other."""
    from dpo.generation.ctranslate import converted as convert

    engines = [convert(policy, compute) for policy in policies]
    began, tokens, firsts = time.perf_counter(), 0, []
    for policy, engine in zip(policies, engines, strict=True):
        for piece in engine.stream(policy, policy.encode_prompt(PROMPT), sampling):
            if piece.tokens == 1 and piece.end is None:
                firsts.append(time.perf_counter() - began)
            if piece.end is not None:
                tokens += piece.tokens
    return tokens, time.perf_counter() - began, firsts


Side = Callable[[Sampling], tuple[int, float, list[float]]]


def in_turns(
    sides: dict[str, Side], rounds: int, sampling: Sampling, busy: bool
) -> dict[str, list[tuple[float, list[float]]]]:
    """(tokens per second, first-token times) of each side, round by round, each round with its own seed."""
    found: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in sides}
    for index in range(-1, rounds):
        settings = Sampling(
            temperature=sampling.temperature, top_p=sampling.top_p, max_new_tokens=sampling.max_new_tokens,
            seed=index + 1,
        )  # fmt: skip
        for name, side in sides.items():
            before = time.process_time()
            tokens, seconds, firsts = side(settings)
            if index >= 0:  # the first round warms up
                found[name].append((tokens / (time.process_time() - before if busy else seconds), firsts))
    return found


def demo(dtype: str = "fp32") -> list[Policy]:
    """The bundled policies as the engine holds them."""
    store = PolicyStore("cpu", dtype=dtype)
    return [store.get(name, lambda *_: None) for name in DEMO]


def rounding(policies: list[Policy], rounded: list[Policy]) -> None:
    """Print how far bf16 moves the log-probabilities of held-out answers, and whether greedy answers stay."""
    pairs = load_preferences("sample").held_out
    questions, answers = list(pairs["prompt"]), list(pairs["chosen"])
    greedy = Sampling(temperature=0, max_new_tokens=32)
    print("\n| policy | mean, nat | greatest, nat | same greedy answer (32 tokens) |\n|---|---|---|---|")
    for policy, other in zip(policies, rounded, strict=True):
        sides = [[x for row in score(side, questions, answers) for x in row] for side in (policy, other)]
        moved = [abs(a - b) for a, b in zip(*sides, strict=True)]
        said = [[made.text for made in generate(side, questions, greedy)] for side in (policy, other)]
        same = sum(a == b for a, b in zip(*said, strict=True))
        print(f"| {policy.name} | {statistics.mean(moved):.3f} | {max(moved):.2f} | {same} of {len(pairs)} |")


def published() -> list[Policy]:
    """Base and fully tuned policies of the published sizes, with random weights."""
    made = []
    for name in ("t5-60m", "gpt2-124m"):
        base = random_policy(SHAPES[name])
        base.tokenizer = tokenizer(SHAPES[name].vocabulary)
        base.model.eval()
        tuned = copy.deepcopy(base)
        with torch.no_grad():
            for parameter in tuned.model.parameters():
                parameter.mul_(1.01)
        tuned.name += "-dpo"
        made += [base, tuned]
    return made


def in_bf16(policy: Policy) -> Policy:
    """A copy with its weights rounded."""
    return replace(policy, model=copy.deepcopy(policy.model).to(torch.bfloat16))  # type: ignore[arg-type]


def tokenizer(size: int) -> Any:
    """As many different words as the model has rows."""
    words = ["<pad>", "</s>", "<unk>", *PROMPT.split()]
    words += [f"w{number}" for number in range(size - len(words))]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.Fuse()
    return wrap(backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def latency(rounds: int, sampling: Sampling) -> tuple[list[float], list[float]]:
    """Seconds from a token's event to its line at an HTTP client, and from the click to each pane's first token."""
    engine = Engine(device="cpu")
    emit = Job.emit

    def stamped(self: Job, kind: str, **data: Any) -> None:
        emit(self, kind, sent=time.perf_counter(), **data)

    Job.emit = stamped  # type: ignore[method-assign]
    server = Flask("bench")
    web.install(server, LOCAL)
    api.register(server, engine, Allowed(LOCAL), Streams())
    served = create_server(server, host="127.0.0.1", port=0, threads=8, send_bytes=1)
    threading.Thread(target=served.run, daemon=True).start()
    delays: list[float] = []
    firsts: list[float] = []
    try:
        for index in range(-1, rounds):
            began = time.perf_counter()
            panes: dict[int, float] = {}
            for kind, data, at in _events(served.effective_port, sampling, index + 1):
                if kind == "token":
                    panes.setdefault(data["arm"], at - began)
                    if index >= 0:
                        delays.append(at - data["sent"])
            if index >= 0:  # the first round loads the policies
                firsts += panes.values()
    finally:
        Job.emit = emit  # type: ignore[method-assign]
        engine.close()
        served.close()
    return delays, firsts


def _events(port: int, sampling: Sampling, seed: int) -> Iterator[tuple[str, dict[str, Any], float]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = {"prompt": PROMPT, "policies": DEMO, "max_new_tokens": sampling.max_new_tokens, "seed": seed}
    connection.request("POST", "/api/generate", json.dumps(body), {"Content-Type": "application/json"})
    response, kind = connection.getresponse(), ""
    while line := response.readline().decode():
        if line.startswith("event: "):
            kind = line[7:].strip()
        elif line.startswith("data: "):
            at = time.perf_counter()
            yield kind, json.loads(line[6:]), at
            if kind == "finished":
                break
    connection.close()


def table(found: dict[str, list[tuple[float, list[float]]]], arguments: argparse.Namespace) -> None:
    """Print a row for each side: (tokens per second, seconds to the first tokens) of each round."""
    first = next(iter(found))
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}; {arguments.size}, up to {arguments.tokens} tokens")
    print(f"tokens per second of {'the processor' if arguments.busy else 'the clock'}\n")
    print("| what | tokens/s (median) | ratio (least-greatest) | first token of a pane, ms (median, worst) |")
    print("|---|---|---|---|")
    for name, rounds in found.items():
        ratios = [rate / base for (rate, _), (base, _) in zip(rounds, found[first], strict=True)]
        times = [1e3 * value for _, firsts in rounds for value in firsts]
        print(
            f"| {name} | {statistics.median(rate for rate, _ in rounds):.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) "
            f"| {statistics.median(times):.0f}, {max(times):.0f} |"
        )


def main() -> None:
    """Read the flags, measure, print the tables."""
    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("demo", "published"), default="demo")
    parser.add_argument("--rounds", type=int, help="default: 7, of the published sizes 3")
    parser.add_argument("--tokens", type=int, help="most tokens of an answer (default: 64, of the published sizes 32)")
    parser.add_argument(
        "--busy", action="store_true", help="count processor time: for a machine that does other things"
    )
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (7 if arguments.size == "demo" else 3)
    arguments.tokens = arguments.tokens or (64 if arguments.size == "demo" else 32)
    sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=arguments.tokens)
    policies = demo() if arguments.size == "demo" else published()
    rounded = demo("bf16") if arguments.size == "demo" else [in_bf16(policy) for policy in policies]
    plain, small = [AskedPolicy(policy) for policy in policies], [AskedPolicy(policy) for policy in rounded]

    def tuned(strength: float) -> list[AskedPolicy]:
        return [
            AskedPolicy(policy, strength if place % 2 else 1.0, policies[place - place % 2])
            for place, policy in enumerate(policies)
        ]

    def own_noise(settings: Sampling) -> tuple[int, float, list[float]]:
        values = {name: getattr(settings, name) for name in ("temperature", "top_p", "max_new_tokens", "seed")}
        return together(plain, Sampling(**values, same_noise=False))

    sides: dict[str, Side] = {
        "four `generate` calls in a row": lambda s: sequential(policies, s),
        "four arms at once": lambda s: together(plain, s),
        "... each with noise of its own": own_noise,
        "... lambda 1.5 on the tuned ones": lambda s: together(tuned(1.5), s),
        "... log-ratios of every token": lambda s: together(tuned(1.0), s, log_ratios=True),
        "... weights in bf16": lambda s: together(small, s),
    }
    try:
        import ctranslate2  # noqa: F401

        sides["CTranslate2 float32 in a row"] = lambda s: converted(policies, s, "float32")
        sides["CTranslate2 int8 in a row"] = lambda s: converted(policies, s, "int8")
    except ImportError:
        print("CTranslate2 is not installed: left out")
    table(in_turns(sides, arguments.rounds, sampling, arguments.busy), arguments)
    if arguments.size == "demo":
        rounding(policies, rounded)
        delays, firsts = latency(arguments.rounds, sampling)
        print(
            f"\nOver HTTP: sampled -> client {1e3 * statistics.median(delays):.1f} ms median, "
            f"{1e3 * statistics.quantiles(delays, n=20)[-1]:.1f} ms 95th percentile; click -> first token of a pane "
            f"{1e3 * statistics.median(firsts):.0f} ms median, {1e3 * max(firsts):.0f} ms worst"
        )


if __name__ == "__main__":
    main()
