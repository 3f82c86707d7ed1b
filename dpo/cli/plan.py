"""`dpo plan`: what a training would take on GPUs that need not be there."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dpo.cli.output import print_json, print_table
from dpo.counting import counted
from dpo.errors import ConfigError
from dpo.preferences.sources import NAMED, is_local
from dpo.training.config import TrainConfig
from dpo.training.plan.cards import Gpus, gpus
from dpo.training.settings import make

if TYPE_CHECKING:
    from dpo.training.plan.choose import Option, TrainingPlan, Workload
    from dpo.training.plan.sizes import Sizes

_ABOUT = """Says on paper what a preference training takes on GPUs that need not be there: memory by strategy, batch,
time and cost. Only the model's config is read, no weights. docs/scale.md says what is counted and what is not."""
STRATEGIES = ("auto", "single", "ddp", "fsdp", "lora", "qlora")
_ASSUMED_PAIRS = 10_000
_SETTINGS = ("epochs", "max_prompt_length", "max_completion_length", "lora_rank")


def add_plan(actions: Any) -> None:
    """Register `dpo plan`."""
    defaults = TrainConfig()
    parser = actions.add_parser("plan", help="what fits on which GPUs, how long, at what cost", description=_ABOUT)
    parser.add_argument("--model", required=True, metavar="NAME", help="a name, a directory with config.json, a hub id")
    parser.add_argument("--gpus", required=True, metavar="NxGPU", help="such as 8x80GB, 2xH100 or L4")
    parser.add_argument("--dataset", default="sample", metavar="NAME", help="counted if it is a file [sample]")
    parser.add_argument("--pairs", type=int, metavar="N", help="training pairs, where they are not counted")
    parser.add_argument("--strategy", choices=STRATEGIES, default="auto", help="instead of the first that fits [auto]")
    parser.add_argument("--update-pairs", type=int, default=64, metavar="N", help="pairs an update, over all GPUs [64]")
    for name in _SETTINGS:
        kind, shown = type(getattr(defaults, name)), getattr(defaults, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, metavar="N", default=argparse.SUPPRESS,
            help=f"as in dpo train [{shown}]",
        )  # fmt: skip
    parser.add_argument(
        "--utilisation", type=float, metavar="X", help="share of the GPUs' peak rate that is reached [0.3]"
    )
    parser.add_argument("--gpu-price", type=float, metavar="EUR", help="of one GPU and hour: adds what it costs")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(call=run_plan)


def run_plan(arguments: argparse.Namespace) -> int:
    """`dpo plan --model NAME --gpus 8x80GB`."""
    cards = gpus(arguments.gpus)
    _check(arguments)
    given = {name: getattr(arguments, name) for name in _SETTINGS if hasattr(arguments, name)}
    config = make(TrainConfig, given | {"model": arguments.model, "dataset": arguments.dataset})
    from dpo.training.plan.choose import UTILISATION, plan
    from dpo.training.plan.sizes import config_of, sizes_of

    sizes = sizes_of(arguments.model, config_of(arguments.model), config.lora_rank)
    config.check_context(arguments.model, None if sizes.encoder is None else _seq2seq(), sizes.context)
    work, source = _work(config, arguments)
    utilisation = arguments.utilisation or UTILISATION
    found = plan(sizes, cards, work, arguments.strategy, utilisation)
    if arguments.json:
        print_json(_facts(sizes, cards, work, found, arguments.gpu_price))
        return 0
    _report(sizes, cards, work, found, source)
    _conclude(cards, found, arguments, utilisation)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing.

    Raises:
        ConfigError: which, and what is allowed.
    """
    for name in ("pairs", "update_pairs"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}: it must be at least 1")
    if arguments.utilisation is not None and not 0 < arguments.utilisation <= 1:
        raise ConfigError(f"--utilisation is {arguments.utilisation}: it must be above 0 and at most 1")
    price = arguments.gpu_price
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ConfigError(f"--gpu-price is {price}: it must be at least 0")


def _seq2seq() -> Any:
    from dpo.families import SEQ2SEQ

    return SEQ2SEQ


def _work(config: TrainConfig, arguments: argparse.Namespace) -> tuple[Workload, str]:
    """The pairs, counted and measured where they are at hand, and a line on where the numbers come from."""
    from dpo.training.pairs import load_pairs
    from dpo.training.plan.choose import LETTERS_OF_A_TOKEN, Workload

    limits = config.max_prompt_length, config.max_completion_length
    away = config.dataset in NAMED or not (config.dataset == "sample" or is_local(config.dataset))
    if away or "," in config.dataset or arguments.pairs is not None:
        count = arguments.pairs or _ASSUMED_PAIRS
        assumed = "" if arguments.pairs else " (assumed: --pairs says how many)"
        told = f"{count:,} pairs{assumed}, all as long as the limits"
        return Workload(config, count, *limits, arguments.update_pairs), told
    train = load_pairs(config).train
    letters = [sum(map(len, train[side])) / len(train) for side in ("prompt", "chosen", "rejected")]
    prompt = min(limits[0], letters[0] / LETTERS_OF_A_TOKEN + 1)
    answer = min(limits[1], (letters[1] + letters[2]) / 2 / LETTERS_OF_A_TOKEN + 1)
    told = (
        f"{len(train):,} pairs of {config.dataset}; prompts of {prompt:.0f} and answers of {answer:.0f} tokens on "
        f"average ({LETTERS_OF_A_TOKEN} letters a token)"
    )
    return Workload(config, len(train), prompt, answer, arguments.update_pairs), told


def _report(sizes: Sizes, cards: Gpus, work: Workload, found: TrainingPlan, source: str) -> None:
    from dpo.training.plan.choose import beside, room

    config = work.config
    print(f"{config.model}: {sizes.architecture}, {sizes.parameters / 1e6:,.1f} million parameters; {source}.")
    print(
        f"GB on each of {cards.count} x {cards.card.name} ({room(cards) / 1e9:.1f} usable), at up to "
        f"{config.max_prompt_length} + {config.max_completion_length} tokens a prompt and answer, in bf16:"
    )
    print()
    names = list(beside(found.options[0].memory))
    table = [["", *(option.strategy for option in found.options)]]
    for name in names:
        table.append([name, *(_gigabytes(beside(option.memory)[name]) for option in found.options)])
    table.append(["fits", *("yes" if option.fits else "no" for option in found.options)])
    table.append(["pairs a step", *(_step(option) for option in found.options)])
    table.append(["time", *(_time(option.hours) if option.fits else "-" for option in found.options)])
    print_table(table)
    print()


def _conclude(cards: Gpus, found: TrainingPlan, arguments: argparse.Namespace, utilisation: float) -> None:
    choice = found.choice
    if choice is None:
        which = "Nothing fits" if arguments.strategy == "auto" else f"{arguments.strategy} does not fit"
        print(f"{which}: take larger or more GPUs, a smaller model, or lower --max-completion-length.")
        return
    pairs = choice.batch.pairs
    total = pairs * choice.accumulation * cards.count
    print(
        f"Take {choice.strategy}: {counted(pairs, 'pair')} a step on each GPU, "
        f"{counted(choice.accumulation, 'step')} an update ({counted(total, 'pair')})"
        + (", with gradient checkpointing." if choice.batch.recompute else ".")
    )
    rate = "the slowest card's of that memory" if cards.assumed else "its data sheet's"
    print(
        f"About {_time(choice.hours)} at {utilisation:.0%} of {cards.card.bf16:g} TFLOP/s ({rate}); "
        "evaluations, probes and loading not counted."
    )
    if arguments.gpu_price is not None:
        print(f"About {_cost(choice, cards, arguments.gpu_price):,.2f} EUR at {arguments.gpu_price:g} a GPU and hour.")
    print(f"\n    {choice.command}")


def _cost(option: Option, cards: Gpus, price: float) -> float:
    return option.hours * cards.count * price


def _step(option: Option) -> str:
    return f"{option.batch.pairs}, checkpointed" if option.batch.recompute else str(option.batch.pairs)


def _gigabytes(value: float) -> str:
    return "-" if not value else f"{value / 1e9:,.1f}" if value >= 1e8 else f"{value / 1e9:.3f}"


def _time(hours: float) -> str:
    if hours >= 2:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 2 else f"{max(1, hours * 3600):.0f} s"


def _facts(sizes: Sizes, cards: Gpus, work: Workload, found: TrainingPlan, price: float | None) -> dict[str, Any]:
    from dpo.training.plan.choose import beside, room

    def facts(option: Option) -> dict[str, Any]:
        cost = {} if price is None else {"eur": _cost(option, cards, price)}
        own = asdict(option) | {"bytes": beside(option.memory), "hours": option.hours if option.fits else None}
        return {name: value for name, value in own.items() if name != "memory"} | (cost if option.fits else {})

    return {
        "model": asdict(sizes),
        "gpus": asdict(cards) | {"usable_bytes": room(cards)},
        "pairs": work.pairs,
        "tokens": {"prompt": work.prompt, "answer": work.answer},
        "options": [facts(option) for option in found.options],
        "choice": None if found.choice is None else found.choice.strategy,
    }
