"""`dpo data show | audit | clean`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo.cli.arguments import Parser, add_columns
from dpo.counting import counted
from dpo.errors import ConfigError, DataError, PolicyError, StorageError
from dpo.training.config import TrainConfig
from dpo.training.settings import alone
from dpo.values import number as number_of

if TYPE_CHECKING:
    from datasets import Dataset

    from dpo.arrays import Floats
    from dpo.preferences.audit import Audit
    from dpo.preferences.audit.ches import DropChes
    from dpo.preferences.normalise import Columns, Normalised

_MARKS = {"fault": "!!", "warning": " !", "note": "  "}
_STRIPPED = ("emoji", "exclamation", "lines", "markdown")
_REMEDIES = {
    "drop_identical": "rows whose two answers are equal",
    "drop_duplicates": "exact and near repetitions of an earlier pair",
    "drop_mispaired": "rows whose texts belong to other rows: blocks, and single rows that can be named",
    "repair_mispaired": "re-pair such blocks where the fit is clear (about 85 %% right), drop the rest",
    "drop_leaking": "held-out pairs that nearly repeat a training pair",
    "drop_swapped": "rows whose labels look swapped",
    "drop_private": "rows that hold what looks like personal data or a secret",
}


def add_data(actions: Any) -> None:
    """Register the commands."""
    data = actions.add_parser("data", help="look at, audit and clean preference data")
    verbs = data.add_subparsers(dest="verb", required=True, metavar="show|audit|clean", parser_class=Parser)
    showing = verbs.add_parser("show", help="the layout, and three rows as training would see them")
    auditing = verbs.add_parser("audit", help="what is wrong with the pairs, before training costs anything")
    cleaning = verbs.add_parser("clean", help="apply an audit's remedies: a new file and a log")
    for verb in (showing, auditing, cleaning):
        verb.add_argument("source", metavar="SOURCE", help="a name, a file or a hub id")
        add_columns(verb)
        verb.set_defaults(split="train")
    showing.set_defaults(call=show)
    for verb in (auditing, cleaning):
        verb.add_argument("--eval-fraction", default="0.05", metavar="X", help="share of held-out prompts [0.05]")
    auditing.add_argument("--model", action="append", metavar="NAME", help="tell its tokens too; repeat for several")
    for side in ("prompt", "completion"):
        help = f"tokens of a {side} in training [256]"
        auditing.add_argument(f"--max-{side}-length", default="256", metavar="N", help=help)
    auditing.add_argument(
        "--ches",
        action="store_true",
        help="also measure each pair's CHES under the --model: will its chosen answer fall?",
    )
    auditing.add_argument("--run", metavar="RUN", help="show its reward accuracy beside the shortcuts")
    auditing.add_argument("--json", metavar="FILE", help="write all of it for programs; - prints it")
    auditing.set_defaults(call=audit)
    cleaning.add_argument(
        "--output", required=True, metavar="FILE.jsonl", help="the new file; FILE.jsonl.log.jsonl beside"
    )
    for name, text in _REMEDIES.items():
        cleaning.add_argument("--" + name.replace("_", "-"), action="store_true", help=text)
    cleaning.add_argument(
        "--strip-shortcut", nargs="+", action="extend", default=[], metavar="X",
        help=f"take it out of both answers: {', '.join(_STRIPPED)}",
    )  # fmt: skip
    cleaning.add_argument(
        "--drop-ches", metavar="X%%", help="the share of pairs with the highest CHES under the --model, such as 5%%"
    )
    cleaning.add_argument("--model", metavar="NAME", help="the model that is to be trained, for --drop-ches")
    for side in ("prompt", "completion"):
        help = f"tokens of a {side} in training, for --drop-ches [256]"
        cleaning.add_argument(f"--max-{side}-length", default="256", metavar="N", help=help)
    cleaning.set_defaults(call=clean)


def show(arguments: argparse.Namespace) -> int:
    """`dpo data show`."""
    from dpo.preferences.layouts import sources_of
    from dpo.preferences.normalise import detect
    from dpo.preferences.preview import pairs_of

    recognised, rows = detect(arguments.source, arguments.split, _columns(arguments))
    layout = recognised.layout
    print(f"Layout      {layout.name}  (--layout {layout.key})")
    print(f"Confidence  {recognised.confidence:.0%}, by the first {counted(len(rows), 'row')}")
    takes = sources_of(layout, rows)
    if arguments.swap:
        takes["chosen"], takes["rejected"] = takes["rejected"], takes["chosen"]
    print("Columns     " + " · ".join(f"{role} from {where}" for role, where in takes.items()))
    if joins := layout.joins():
        print(f"Pairs       {joins}")
    pairs, left_out = pairs_of(layout, rows, arguments.swap)
    for reason, numbers in left_out.items():
        print(f"Left out    {len(numbers)} {reason}, the first is row {min(numbers)}")
    if not pairs:
        print("None of these rows gives a pair.")
    for number, pair in pairs[:3]:
        print(f"\nRow {number}")
        _fields({"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected})
        if pair.messages:
            print(f"  messages  {len(pair.messages)}: {', '.join(turn['role'] for turn in pair.messages)}")
    return 0


def audit(arguments: argparse.Namespace) -> int:
    """`dpo data audit`: the report goes to standard output."""
    from dpo.preferences.audit import TokenLimits
    from dpo.preferences.audit import audit as make
    from dpo.preferences.audit.remedies import clean_command, reading_flags
    from dpo.preferences.normalise import normalise
    from dpo.preferences.spec import DataSpec

    limits = TokenLimits(_setting(arguments, "max_prompt_length"), _setting(arguments, "max_completion_length"))
    fraction = _setting(arguments, "eval_fraction")
    reached = _reward_accuracy(arguments.run) if arguments.run else None
    with _progress() as tell:
        data = normalise(
            arguments.source, arguments.split, _columns(arguments), lambda rows: tell(f"reading rows ({rows:,})", 0.0)
        )
        vocabularies, missing = _vocabularies(arguments.model or [], data)
        result = make(data, vocabularies, limits=limits, eval_fraction=fraction, reward_accuracy=reached, progress=tell)
    if arguments.ches:
        if not arguments.model:
            raise ConfigError("--ches needs --model NAME: the model that is to be trained")
        from dpo.preferences.audit.ches import with_ches

        for model in arguments.model:
            result = with_ches(result, data, model, _ches(arguments, model)(data.pairs))
    for problem in missing:
        print(f"dpo: tokens are left out: {problem}", file=sys.stderr)
    if arguments.json == "-":
        print(result.to_json())
        return 0
    _report(result)
    spec = DataSpec(arguments.source, arguments.split, _columns(arguments), eval_fraction=fraction)
    if command := clean_command(spec.source, result.findings, reading_flags(spec)):
        print(f"\nAll of this advice in one command:\n  {command}")
    if arguments.json:
        try:
            result.save(Path(arguments.json))
        except OSError as error:
            raise StorageError(f"{arguments.json} cannot be written ({error.strerror}): check the path") from error
    return 0


def clean(arguments: argparse.Namespace) -> int:
    """`dpo data clean`."""
    from dpo.preferences.audit.clean import Remedies
    from dpo.preferences.audit.clean import clean as make

    remedies = Remedies(
        **{name: getattr(arguments, name) for name in _REMEDIES}, strip=tuple(arguments.strip_shortcut),
        drop_ches=_drop_ches(arguments),
    )  # fmt: skip
    if remedies == Remedies():
        flags = ", ".join("--" + name.replace("_", "-") for name in _REMEDIES)
        raise ConfigError(f"dpo data clean needs a remedy: {flags}, --drop-ches or --strip-shortcut")
    remedies.validate()
    with _progress() as tell:
        done = make(
            arguments.source,
            Path(arguments.output),
            remedies,
            split=arguments.split,
            columns=_columns(arguments),
            eval_fraction=_setting(arguments, "eval_fraction"),
            progress=tell,
        )
    print(f"Wrote {counted(done.written, 'pair')} of {counted(done.rows, 'row')} to {done.output}")
    for what, counts in (("dropped", done.dropped), ("changed", done.changed)):
        for why, count in sorted(counts.items(), key=lambda item: -item[1]):
            print(f"  {count:>8,} {what}: {why}")
    for note in done.notes:
        print(note)
    print(f"Every row that was dropped or changed is in {done.log}")
    return 0


def _drop_ches(arguments: argparse.Namespace) -> DropChes | None:
    if arguments.drop_ches is None:
        return None
    if not arguments.model:
        raise ConfigError("--drop-ches needs --model NAME: the model that is to be trained")
    from dpo.preferences.audit.ches import DropChes

    text, percent = arguments.drop_ches.removesuffix("%"), arguments.drop_ches.endswith("%")
    share = number_of("--drop-ches", text) / (100 if percent else 1)
    return DropChes(share, arguments.model, _ches(arguments, arguments.model))


def _ches(arguments: argparse.Namespace, model: str) -> Callable[[Dataset], Floats]:
    """What measures the CHES of pairs under a model that is loaded when it is asked."""
    longest = _setting(arguments, "max_prompt_length"), _setting(arguments, "max_completion_length")

    def measure(pairs: Dataset) -> Floats:
        from dpo.evaluation.ches import ches
        from dpo.policies.loading import load_policy

        policy = load_policy(model)
        with _progress() as tell:
            return ches(policy, list(pairs), longest, lambda done, total: tell(f"CHES under {model}", done / total))

    return measure


def _columns(arguments: argparse.Namespace) -> Columns:
    from dpo.preferences.spec import columns_of

    return columns_of(vars(arguments))


def _vocabularies(models: list[str], data: Normalised) -> tuple[list[Any], list[str]]:
    """The vocabularies at hand, and why others are not: an audit without the hub tells what it can."""
    if not models:
        return [], []
    from dpo.policies.vocabulary import load_vocabulary

    found, missing = [], []
    for model in models:
        texts = (text for side in ("chosen", "rejected") for text in _some(data, side))
        try:
            found.append(load_vocabulary(model, texts))
        except PolicyError as error:
            if not _of_the_hub(model):
                raise
            missing.append(str(error))
    return found, missing


def _of_the_hub(model: str) -> bool:
    from dpo.policies.names import resolve

    return resolve(model).kind == "hub"


def _some(data: Normalised, side: str) -> Iterator[str]:
    """Texts of at most 20,000 pairs, evenly over the table: for the characters that occur."""
    step = max(1, len(data.pairs) // 20_000)
    for start in range(0, len(data.pairs), 1024):
        yield from data.pairs[start : start + 1024][side][::step]


def _reward_accuracy(name: str) -> float:
    from dpo.cli.arguments import run_roots
    from dpo.runs import find_run, summarise
    from dpo.runs.newest import HELD_OUT

    facts = summarise(find_run(name, run_roots(argparse.Namespace(runs=None))))
    accuracy = facts["accuracy"]
    if accuracy is None or facts["over"] != HELD_OUT:
        raise DataError(f"--run {name} has no held-out reward accuracy: name a run of dpo train that was evaluated")
    return float(accuracy)


def _report(result: Audit) -> None:

    print(f"{result.source}: {counted(result.rows, 'row')}, {result.scope()}")
    print(f"Layout: {result.layout} (confidence {result.confidence:.0%})")
    measures = result.measures
    print(f"Prompts: {measures['unique_prompts']:,} different · held out {counted(measures['held_out'], 'pair')}")
    for model, tokens in measures["models"].items():
        parts = [
            f"{side} {tokens[side]['tokens']['p50']}/{tokens[side]['tokens']['p90']}/{tokens[side]['tokens']['max']}"
            for side in ("prompt", "chosen", "rejected")
        ]
        print(f"Tokens of {model} (median/90 %/longest): {' · '.join(parts)} · {counted(tokens['sampled'], 'pair')}")
    for finding in result.findings:
        print(f"\n{_MARKS[finding.severity]} {finding.code}: {finding.with_rows()}")
        if finding.remedy:
            print(f"     -> {finding.remedy}")
    print("\nAccuracy of rules that read no meaning, on pairs that they were not made from:")
    for rule in sorted(measures["shortcuts"].values(), key=lambda rule: -rule["accuracy"]):
        print(f"  {rule['accuracy']:.3f}  {rule['says']}")
    if not measures["shortcuts"]:
        print("  too few pairs to tell")
    print(f"\n{result.seconds:.1f} s")


def _fields(fields: dict[str, str]) -> None:
    for name, text in fields.items():
        shown = json.dumps(text if len(text) <= 300 else text[:200] + " … " + text[-90:], ensure_ascii=False)
        print(f"  {name:9} {shown}")


def _setting(arguments: argparse.Namespace, name: str) -> Any:
    """What a flag says, in the range that the setting of this name has in training."""
    return alone(name, getattr(arguments, name), TrainConfig, "the settings")


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Step and share done on standard error, where someone watches."""
    from tqdm import tqdm

    with tqdm(total=100, bar_format="{desc:<40} {percentage:3.0f}% {elapsed}", disable=None, leave=False) as bar:

        def tell(step: str, share: float) -> None:
            bar.n = round(100 * share)
            bar.set_description_str(step)

        yield tell
