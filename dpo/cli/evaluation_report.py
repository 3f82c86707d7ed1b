"""The result of an evaluation as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpo.cli.output import print_table
from dpo.counting import counted
from dpo.evaluation.comparison.wording import interval, measured_beside, percent, verdict_word

_RULES = {"longer": "longer", "emoji": "more emoji"}


def print_report(made: Mapping[str, Any]) -> None:
    """Print every comparison, the measures beside the base, the held-out pairs, and what to know of the judges."""
    print()
    for row in made["comparisons"]:
        print(row["sentence"])
    _comparisons(made["comparisons"])
    for row in made["gains"]:
        _gain(row)
    for row in made["strengths"]:
        _strengths(row)
    for row in made["measures"]:
        if row["against"] is not None:
            _measures(row, *measured_beside(made, row))
    _drift(made)
    _changes(made)
    for row in made["held_out"]:
        _held_out(row)
    _judges(made)
    print()
    if "until_clear" in made["plan"]:
        print("Win rates have 95 % confidence sequences over prompts, which may be looked at as often as one likes")
    else:
        print("95 % intervals over prompts; verdict words are adjusted for several comparisons by one judge (Holm)")
    if not made["complete"]:
        print("Not complete: some answers or verdicts are missing; run the same command again")


def _slices(rows: Sequence[Mapping[str, Any]]) -> None:
    """Win rates by slice, of judges that read meaning."""
    for row in rows:
        if row["kind"] == "rule" or not row["slices"]:
            continue
        print()
        head = f"{row['judge']}, {row['policy']} against {row['against']}, temperature {row['temperature']:g}"
        shown = [
            (f"  {name}", percent(rate["value"]), interval(rate).strip(), counted(rate["n"], "prompt"))
            for name, rate in row["slices"].items()
        ]
        print(head)
        print_table(shown)


def print_speeds(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how quickly each policy answered, when it did, and what that drew, where that was measured."""
    for row in rows:
        rate, drawn = row["tokens"] / row["seconds"], row["wh_per_1000_tokens"]
        energy = "" if drawn is None else f", {drawn:.3g} Wh for 1,000 tokens"
        print(f"{row['policy']} wrote {rate:,.0f} tokens a second at temperature {row['temperature']:g}{energy}")
    if any(row["wh_per_1000_tokens"] is None for row in rows):
        print("Energy is not known where answers were written without a GPU whose power can be read")


def _comparisons(rows: Sequence[Mapping[str, Any]]) -> None:
    head = "win rate", "", "won", "tied", "lost", "equal length", "equal style", "verdict", "judge", "comparison"
    table: list[tuple[str, ...]] = [head]
    for row in rows:
        rate = row["win_rate"]
        if rate is None:
            continue
        table.append(
            (
                percent(rate["value"]), interval(rate).strip(), str(row["wins"]), str(row["ties"]), str(row["losses"]),
                *(
                    "-" if equal is None else percent(equal["value"]) + interval(equal)
                    for equal in (row["length_controlled"], row["style_controlled"])
                ),
                verdict_word(row), row["judge"],
                f"{row['policy']} against {row['against']}, temperature {row['temperature']:g}",
            )
        )  # fmt: skip
    print()
    print_table(table)
    _slices(rows)
    for row in rows:
        if row["people"] is not None:
            people = row["people"]
            value = f"{percent(people['value'])}{interval(people)}"
            print(
                f"{row['policy']} against {row['against']}, temperature {row['temperature']:g}: by people, "
                f"made surer by {row['judge']} (weight {people['weight']:.2f}): {value} from "
                f"{people['n']} voted prompts, if these are a random part"
            )
    flipped = [row for row in rows if row["order"] is not None]
    for row in flipped:
        order = row["order"]
        print(
            f"{row['judge']}: {order['flips']} of {order['decided']} verdicts turned with the order, for the first "
            f"{order['bias']['value'] * 100:+.1f} points too often"
        )
    invalid = sum(row["invalid"] for row in rows)
    if invalid:
        print(f"{invalid} verdicts were none and count for nobody")


def _gain(row: Mapping[str, Any]) -> None:
    difference = row["difference"]
    (first, base), (second, other) = row["first"], row["second"]
    print(
        f"{first} over {base} minus {second} over {other}, by {row['judge']}, temperature {row['temperature']:g}: "
        f"{difference['value'] * 100:+.1f} points{interval(difference)}"
    )


def _strengths(row: Mapping[str, Any]) -> None:
    """Of several comparisons: which policy is how strong, also where all answers have the same style."""
    if len(row["policies"]) < 3:
        return
    table = [(f"{row['judge']}, temperature {row['temperature']:g}", "strength (log-odds)", "at equal style")]
    for one in sorted(row["policies"], key=lambda one: -(one["strength"] or 0.0)):
        values = (
            "-" if one[part] is None else f"{one[part]:+.2f} ± {1.96 * one[part + '_error']:.2f}"
            for part in ("strength", "at_equal_style")
        )
        table.append((one["policy"], *values))
    print()
    print_table(table)


def _measures(row: Mapping[str, Any], base: Mapping[str, Any], shown: Sequence[tuple[str, ...]]) -> None:
    print()
    print_table([(f"temperature {row['temperature']:g}", row["policy"], row["against"], "difference"), *shown])
    for side in (row, base):
        if side["left_out"]:
            print(f"{counted(side['left_out'], 'prompt')} left out: too long for the context of {side['policy']}")


def _drift(made: Mapping[str, Any]) -> None:
    """How far each policy moved, and how much less well it predicts texts that it did not write."""
    print()
    for row in made["divergence"]:
        if row["kl"] is not None:
            print(
                f"KL of {row['policy']} to {row['against']}: {row['kl']['value']:.3g}{interval(row['kl'], 1, 3)} nats "
                f"an answer, {row['per_token']['value']:.3g} a token, on {counted(row['prompts'], 'prompt')} "
                f"(by drawn tokens alone: k1 {row['k1']['value']:.3g}, k3 {row['k3']['value']:.3g})"
            )
        if row["left_out"]:
            left_out = counted(row["left_out"], "prompt")
            print(f"KL of {row['policy']} to {row['against']}: {left_out} left out, {row['why']}")
    for row in made["frontier"]:
        top = row["hump"]
        if top is not None and top["peak"] is not None:
            past = f"; past it: {', '.join(row['past'])}" if row["past"] else ""
            print(
                f"By {row['judge']}, temperature {row['temperature']:g}, most is gained at a distance of "
                f"{top['peak']:.2g}{interval(top, 1, 2)} from {row['against']} (square root of the KL){past}"
            )
    known = {(row["policy"], row["kind"]): row for row in made["perplexity"]}
    for row in made["perplexity"]:
        if row["difference"] is None:
            continue
        base, gap = known[row["against"], row["kind"]], row["difference"]
        what = "chosen answers" if row["kind"] == "chosen" else "plain text"
        print(
            f"{row['policy']}'s perplexity on {what} is {row['perplexity']['value']:.4g} ({row['against']}'s "
            f"{base['perplexity']['value']:.4g}); {gap['value']:+.3f}{interval(gap, 1, 3)} bits a character"
        )


def _changes(made: Mapping[str, Any]) -> None:
    print()
    for row in made["changes"]:
        print(f"{row['sentence']}; temperature {row['temperature']:g}")
    for side, how in (("more", "more"), ("less", "less")):
        words = ", ".join(row["word"] for row in made["taught"][side])
        if words:
            print(f"The chosen answers of {counted(made['taught']['pairs'], 'held-out pair')} have {how} of: {words}")


def _held_out(row: Mapping[str, Any]) -> None:
    print()
    name = row["policy"] + ("" if row["answers"] else " (judge)")
    if row["accuracy"] is None:
        print(f"{name}: no held-out pair fits into its context")
        return
    print(
        f"{name} on {counted(row['pairs'], 'held-out pair')}: accuracy {percent(row['accuracy']['value'])}"
        f"{interval(row['accuracy'])}, margin {row['margin']['value']:+.3f}{interval(row['margin'], 1, 3)}, "
        f"loss {row['loss']['value']:.3f}{interval(row['loss'], 1, 3)}"
    )
    for rule, estimate in row["rules"].items():
        if rule == "shortcut" and _is_listed(row["shortcut"]):
            continue
        print(f"  the rule {_rule(rule, row['shortcut'])} is right on {percent(estimate['value'])}{interval(estimate)}")
    if row["left_out"]:
        print(f"  {counted(row['left_out'], 'pair')} left out: too long for its context")


def _is_listed(shortcut: Mapping[str, Any]) -> bool:
    """Whether the best rule is one of those that are always shown."""
    return bool(shortcut["more"]) and shortcut["feature"] in ("length", "emoji")


def _rule(name: str, shortcut: Mapping[str, Any] | None) -> str:
    if name != "shortcut" or shortcut is None:
        return f'"{_RULES.get(name, name)}"'
    return f'"{"more" if shortcut["more"] else "less"} {shortcut["feature"]}" (the best on the training pairs)'


def _judges(made: Mapping[str, Any]) -> None:
    """How far they agree, and what is known of those that were asked over a network."""
    _agreement(made["agreement"])
    alpha = made["alpha"]
    if alpha is not None:
        print(
            f"Krippendorff's alpha of {', '.join(alpha['judges'])}: {alpha['value']:.2f}{interval(alpha, 1, 2)} "
            f"over {counted(alpha['n'], 'prompt')}"
        )
    for card in made["judges"]:
        if card["models"]:
            print(
                f"{card['name']} calls itself {', '.join(card['models'])}; {card['tokens']:,.0f} tokens; of "
                f"{card['repeated']} questions asked twice {card['repeated_alike']} had the same verdict"
            )


def _agreement(rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        print()
    for row in rows:
        kappa = "no kappa: one verdict throughout"
        if row["kappa"] is not None:
            kappa = f"kappa {row['kappa']['value']:.2f}{interval(row['kappa'], 1, 2)}"
        print(f"{row['first']} and {row['second']} agree on {percent(row['agree'])} of {row['verdicts']}, {kappa}")
