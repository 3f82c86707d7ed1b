"""`dpo score`: rewards token by token, or over a data set."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dpo.cli.arguments import Parser
from dpo.errors import ConfigError, StorageError


def add_score(actions: Any) -> None:
    """Register `dpo score`."""
    score: Parser = actions.add_parser(
        "score",
        help="the DPO reward of texts, token by token, or of a data set's pairs",
        description="beta * log(policy / reference) of each token, as the trainer computes rewards. "
        "Give a prompt with one or two texts, or a data set.",
    )
    score.add_argument("--policy", required=True, metavar="RUN", help="a run, a checkpoint, or another policy's name")
    score.add_argument("--prompt", metavar="TEXT", help="what was asked")
    score.add_argument(
        "--text", action="append", metavar="TEXT", help="an answer; a second one is compared with the first"
    )
    score.add_argument("--dataset", metavar="DATA", help="score its pairs instead of --prompt and --text")
    score.add_argument("--num-samples", type=int, metavar="N", help="that many pairs, drawn by seed 0 [all]")
    score.add_argument("--held-out", action="store_true", help="only pairs whose prompts training would hold out")
    score.add_argument("--reference", metavar="NAME", help="score against this policy [the one recorded in the run]")
    score.add_argument("--beta", type=float, metavar="X", help="[the run's]")
    score.add_argument(
        "--unit", default="token", metavar="{token,word,sentence}", help="what a line stands for [token]"
    )
    score.add_argument("--batch-size", type=int, default=8, metavar="N", help="pairs at once [8]")
    score.add_argument("--json", metavar="FILE", help="also write everything as JSON; - is standard output, alone")
    score.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps [auto]")
    score.set_defaults(call=run_score)


def run_score(arguments: argparse.Namespace) -> int:
    """`dpo score`."""
    _check(arguments)
    from dpo.evaluation.lens import open_lens

    if arguments.dataset:
        return _score_dataset(arguments)
    lens = open_lens(arguments.policy, reference=arguments.reference, beta=arguments.beta, device=arguments.device)
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    looks = [look.record() for look in lens.look(prompt, arguments.text)]
    made = _about(lens.tuning) | {
        "prompt": prompt,
        "texts": [{"text": text} | look for text, look in zip(arguments.text, looks, strict=True)],
    }
    if arguments.json != "-":
        for place, look in enumerate(looks):
            _print_look("AB"[place] if len(looks) > 1 else "", look, arguments.unit)
        if len(looks) == 2:
            print(f"margin A - B  {looks[0]['reward'] - looks[1]['reward']:+.4f}")
    _write(made, arguments.json)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    from dpo.evaluation.units import UNITS

    if arguments.unit not in UNITS:
        raise ConfigError(f"--unit {arguments.unit!r}: it must be one of {', '.join(UNITS)}")
    typed = arguments.prompt is not None or bool(arguments.text)
    if bool(arguments.dataset) == typed:
        raise ConfigError("give either --prompt with --text, or --dataset; see dpo score --help")
    if typed and (arguments.prompt is None or not arguments.text):
        missing = "--prompt" if arguments.prompt is None else "--text"
        raise ConfigError(f"{missing} is missing: a reward needs a prompt and a text")
    if typed and len(arguments.text) > 2:
        raise ConfigError(f"--text was given {len(arguments.text)} times: give one text or two")
    for name in ("num_samples", "batch_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}: it must be at least 1")


def _score_dataset(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dpo.evaluation.lens import open_lens
    from dpo.evaluation.pairs import score_pairs, summary
    from dpo.evaluation.tuning import eval_fraction, tuning_of
    from dpo.preferences import load_preferences

    tuning_of(arguments.policy, arguments.reference, arguments.beta)  # mistakes first, data and weights after
    fraction = eval_fraction(arguments.policy) if arguments.held_out else 0.0
    loaded = load_preferences(arguments.dataset, num_samples=arguments.num_samples, eval_fraction=fraction)
    pairs = list(loaded.held_out if arguments.held_out else loaded.train)
    lens = open_lens(arguments.policy, reference=arguments.reference, beta=arguments.beta, device=arguments.device)
    with tqdm(total=len(pairs), desc="score", unit="pair", disable=not sys.stderr.isatty()) as bar:
        scores, left_out = score_pairs(
            lens,
            pairs,
            batch_size=arguments.batch_size,
            progress=lambda done, _total: _advance(bar, done),
        )
    means = summary(scores)
    if arguments.json != "-":
        for name, value in means.items():
            print(f"{name:26} {value}" if isinstance(value, int) else f"{name:26} {value:+.4f}")
        if left_out:
            print(f"{left_out} of {len(pairs)} pairs do not fit into the policy's context and were left out")
    made = _about(lens.tuning) | {
        "dataset": loaded.info,
        "summary": means,
        "left_out": left_out,
        "pairs": [score.record() for score in scores],
    }
    _write(made, arguments.json)
    return 0


def _advance(bar: Any, done: int) -> None:
    bar.update(done - bar.n)


def _about(tuning: Any) -> dict[str, Any]:
    return {"policy": tuning.policy, "reference": tuning.reference or "adapter off", "beta": tuning.beta}


def _print_look(name: str, look: dict[str, Any], unit: str) -> None:
    tokens = look["tokens"]
    print(f"{name + '  ' if name else ''}reward {look['reward']:+.4f}, {look['reward_per_token']:+.4f} per token")
    print(f"{'':24} {'reward':>9} {'policy':>9} {'reference':>9} {'ranks':>12}")
    for start, end in look["units"][unit]:
        part = tokens[start:end]
        text = "".join(token["text"] for token in part) or part[0]["piece"]
        ranks = f"{part[0]['policy_rank']} / {part[0]['reference_rank']}" if len(part) == 1 else ""
        sums = [sum(token[field] for token in part) for field in ("reward", "policy_logp", "reference_logp")]
        shown = text.replace("\n", "⏎")
        print(f"{shown[:24]:24} {sums[0]:+9.4f} {sums[1]:9.3f} {sums[2]:9.3f} {ranks:>12}".rstrip())
    shares = ", ".join(f"{share:.0%} {kind}" for kind, share in look["shifts"].items())
    print(f"{len(tokens)} tokens: {shares}" + ("; cut where training cut it" if look["cut"] else ""))
    print()


def _write(made: dict[str, Any], target: str | None) -> None:
    if not target:
        return
    text = json.dumps(made, ensure_ascii=False, indent=1)
    if target == "-":
        print(text)
        return
    try:
        Path(target).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"--json {target} cannot be written ({error.strerror or error}): name another file"
        ) from error
