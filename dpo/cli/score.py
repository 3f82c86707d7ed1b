"""`dpo score`: rewards token by token, or over a data set."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo.cli.arguments import Parser, add_columns, add_device
from dpo.counting import counted
from dpo.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from dpo.preferences.spec import DataSpec


def add_score(actions: Any) -> None:
    """Register `dpo score`."""
    score: Parser = actions.add_parser(
        "score",
        help="the DPO reward of texts, token by token, or of a data set's pairs",
        description="beta * log(policy / reference) of each token, as the trainer computes rewards. "
        "Give a prompt with one or two texts, a data set, or --held-out for what the run held out.",
    )  # fmt: skip
    score.add_argument("--policy", required=True, metavar="RUN", help="a run, a checkpoint, or another policy's name")
    score.add_argument("--prompt", metavar="TEXT", help="what was asked; - reads standard input")
    score.add_argument(
        "--messages", metavar="JSON", help='what was asked in several turns: [{"role": "user", "content": "Hi"}, ...]'
    )
    score.add_argument(
        "--text", action="append", metavar="TEXT", help="an answer; a second one is compared with the first"
    )
    score.add_argument(
        "--dataset", metavar="DATA", help="score its pairs instead of --prompt and --text [with --held-out: the run's]"
    )
    add_columns(score)
    score.add_argument(
        "--num-samples", type=int, metavar="N",
        help="that many pairs, drawn by the run's seed on its own data, else by 0 [all]",
    )  # fmt: skip
    score.add_argument(
        "--held-out", action="store_true",
        help="only pairs whose prompts training holds out; of the run's own data those that its evaluations measure",
    )  # fmt: skip
    score.add_argument(
        "--max-eval-pairs", type=int, metavar="N", help="held-out pairs at most [the run's on its own data, else all]"
    )
    score.add_argument("--reference", metavar="NAME", help="score against this policy [the one recorded in the run]")
    score.add_argument("--beta", type=float, metavar="X", help="[the run's]")
    score.add_argument(
        "--unit", default="token", metavar="{token,word,sentence}", help="what a line stands for [token]"
    )
    score.add_argument("--batch-size", type=int, default=8, metavar="N", help="pairs at once [8]")
    score.add_argument("--json", metavar="FILE", help="also write everything as JSON; - is standard output, alone")
    add_device(score)
    score.set_defaults(call=run_score)


def run_score(arguments: argparse.Namespace) -> int:
    """`dpo score`."""
    _check(arguments)
    from dpo.evaluation.lens import open_lens

    if arguments.dataset or arguments.held_out:
        return _score_dataset(arguments)
    prompt = _prompt(arguments)
    lens = open_lens(arguments.policy, reference=arguments.reference, beta=arguments.beta, device=arguments.device)
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


def _prompt(arguments: argparse.Namespace) -> str | list[dict[str, str]]:
    from dpo.evaluation.prompts import given_prompt

    if arguments.messages is None:
        return given_prompt(sys.stdin.read() if arguments.prompt == "-" else arguments.prompt)
    try:
        messages = json.loads(arguments.messages)
    except ValueError:
        raise ConfigError('--messages is not JSON: give a list like [{"role": "user", "content": "Hi"}]') from None
    return given_prompt(None, messages or [])


def _check(arguments: argparse.Namespace) -> None:
    from dpo.evaluation.units import UNITS

    if arguments.unit not in UNITS:
        raise ConfigError(f"--unit {arguments.unit!r}: it must be one of {', '.join(UNITS)}")
    asked = [name for name in ("prompt", "messages") if getattr(arguments, name) is not None]
    if len(asked) > 1:
        raise ConfigError("give --prompt or --messages, not both")
    typed = bool(asked or arguments.text)
    if bool(arguments.dataset or arguments.held_out) == typed:
        raise ConfigError("give either --prompt with --text, or --dataset, or --held-out; see dpo score --help")
    if typed and (not asked or not arguments.text):
        missing = "--text" if asked else "--prompt"
        raise ConfigError(f"{missing} is missing: a reward needs a prompt and a text")
    if typed and len(arguments.text) > 2:
        raise ConfigError(f"--text was given {len(arguments.text)} times: give one text or two")
    for name in ("num_samples", "batch_size", "max_eval_pairs"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}: it must be at least 1")


def _score_dataset(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dpo.evaluation.lens import open_lens
    from dpo.evaluation.pairs import score_pairs, summary
    from dpo.evaluation.tuning import tuning_of
    from dpo.preferences.load import load

    tuning_of(arguments.policy, arguments.reference, arguments.beta)  # mistakes first, data and weights after
    spec, own = _data(arguments)
    loaded = load(spec)
    pairs = list(loaded.evaluated if arguments.held_out else loaded.train)
    lens = open_lens(arguments.policy, reference=arguments.reference, beta=arguments.beta, device=arguments.device)
    with tqdm(total=len(pairs), desc="score", unit="pair", disable=not sys.stderr.isatty()) as bar:
        scores, left_out = score_pairs(
            lens,
            pairs,
            longest=lens.tuning.drop_over if own and arguments.held_out else None,
            batch_size=arguments.batch_size,
            progress=lambda done, _total: _advance(bar, done),
        )
    means = summary(scores)
    if arguments.json != "-":
        for name, value in means.items():
            print(f"{name:26} {value}" if isinstance(value, int) else f"{name:26} {value:+.4f}")
        if left_out:
            print(
                f"{left_out} of {len(pairs)} pairs were left out: longer than the policy's context, or than what the "
                "run trained on (--overlong drop)"
            )
        if arguments.held_out and len(pairs) < len(loaded.held_out):
            print(f"the first {len(pairs)} of {len(loaded.held_out)} held-out pairs: --max-eval-pairs has more")
    made = _about(lens.tuning) | {
        "dataset": loaded.info,
        "summary": means,
        "left_out": left_out,
        "pairs": [score.record() for score in scores],
    }
    _write(made, arguments.json)
    return 0


def _data(arguments: argparse.Namespace) -> tuple[DataSpec, bool]:
    """The pairs that a command line asks for, and whether they are the run's own, read as the run read them."""
    from dpo.evaluation.tuning import data_of
    from dpo.preferences.normalise import Columns
    from dpo.preferences.spec import DataSpec, columns_of

    trained = data_of(arguments.policy)
    own = trained is not None and arguments.dataset in (None, trained.source)
    if trained is None and not arguments.dataset:
        raise ConfigError(f"{arguments.policy} does not say what it was trained on: name the pairs with --dataset")
    columns, most = columns_of(vars(arguments)), arguments.max_eval_pairs
    if trained is not None and own:
        spec = replace(trained, split=arguments.split or trained.split, max_eval_pairs=most or trained.max_eval_pairs)
        if columns != Columns():
            spec = replace(spec, columns=columns)
    else:
        fraction = trained.eval_fraction if trained is not None else DataSpec.eval_fraction
        split = arguments.split or DataSpec.split
        spec = DataSpec(arguments.dataset, split, columns, eval_fraction=fraction, max_eval_pairs=most)
    if not arguments.held_out:
        return replace(spec, num_samples=arguments.num_samples, eval_fraction=0.0), own
    if spec.eval_fraction == 0:
        raise ConfigError(f"{arguments.policy} held nothing out (--eval-fraction 0): leave --held-out away")
    return replace(spec, num_samples=arguments.num_samples or spec.num_samples), own


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
    print(f"{counted(len(tokens), 'token')}: {shares}" + ("; cut where training cut it" if look["cut"] else ""))
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
