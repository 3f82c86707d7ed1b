"""What the audit says of texts that belong to other rows: a block, a whole side, single rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo.preferences.audit.pairing import NAMES, Block, Pairing, Side
from dpo.preferences.audit.result import Finding, ranges
from dpo.preferences.audit.scattered import Scattered
from dpo.preferences.audit.signals import Signals
from dpo.severity import Severity

CODES = ("mispaired", "mispaired-rows")
# Under this no side can be told to be another prompt's: 0.5 is chance.
_POWERLESS = 0.6
# Of a displaced side at least one text in twenty fits another row clearly; of texts that say nothing none does.
_AT_HOME_ELSEWHERE = 0.03
_FAULT_SHARE = 0.05
_BLOCKS: Mapping[Side, str] = {
    "prompt": "have prompts that fit neither of their answers",
    "chosen": "have chosen answers that belong to other prompts",
    "rejected": "have rejected answers that belong to other prompts",
}


def mispaired(signals: Signals) -> tuple[list[Finding], dict[str, Any]]:
    """Findings on blocks, on a side that is displaced as a whole and on single rows, and what they rest on."""
    pairing, rows = signals.pairing, signals.row
    found = [_block(block, signals) for block in pairing.blocks]
    if pairing.column is not None:
        found.append(_side(pairing, pairing.column, signals))
    found += [_single(scattered, signals) for scattered in pairing.scattered]
    if pairing.power < _POWERLESS and len(rows) >= 100:
        sentence = "Answers share too few words with their prompts to tell whether they belong together"
        found.append(
            Finding(
                "pairing-unknown", "note", sentence, evidence={"power": round(pairing.power, 3)},
                remedy="read some rows: dpo data show SOURCE",
            )
        )  # fmt: skip
    measures = {
        "power": round(pairing.power, 4),
        "links": {link: round(power, 4) for link, power in pairing.links.items()},
        "blocks": [{"first": int(rows[b.first]), "last": int(rows[b.last]), "side": b.side} for b in pairing.blocks],
        "displaced_side": pairing.column,
    }
    return found, measures


def _block(block: Block, signals: Signals) -> Finding:
    rows = signals.row[block.first : block.last + 1]
    first, last = int(rows[0]), int(rows[-1])
    sentence = (
        f"Rows {first} to {last} {_BLOCKS[block.side]}: their fit is {block.evidence['fit_inside']:.3f}, "
        f"{block.evidence['fit_elsewhere']:.3f} elsewhere, {block.evidence['fit_of_random_pairs']:.3f} for pairs "
        "made at random"
    )
    evidence = dict(block.evidence) | {"side": block.side}
    remedy = "--repair-mispaired or --drop-mispaired"
    # A block is all rows from its first to its last, also where only some of them were looked at.
    return Finding("mispaired", "fault", sentence, ((first, last),), len(rows), evidence, remedy)


def _side(pairing: Pairing, side: Side, signals: Signals) -> Finding:
    rows = signals.row
    powers = ", ".join(f"{link} {power:.2f}" for link, power in pairing.links.items())
    sentence = f"The {NAMES[side]} fit their own rows no better than other rows ({powers}; 0.50 is chance)"
    evidence = {"side": side, "links": dict(pairing.links), "fit_another_row": round(pairing.column_homes, 4)}
    if pairing.column_homes < _AT_HOME_ELSEWHERE:
        # No texts that belong elsewhere, as far as can be seen: generic ones would look the same.
        sentence += ": they say nothing of their rows, or belong to rows that are not here"
        remedy = "read some rows: dpo data show SOURCE"
        return Finding("unrelated-side", "warning", sentence, (), 0, evidence, remedy)
    sentence += f", and {pairing.column_homes:.0%} clearly fit another one: they are in another order"
    remedy = "--repair-mispaired, or mend what wrote the data"
    return Finding("mispaired", "fault", sentence, ((int(rows[0]), int(rows[-1])),), len(rows), evidence, remedy)


def _single(found: Scattered, signals: Signals) -> Finding:
    count, total = len(found.places), len(signals.row)
    rows = signals.row[found.places].tolist()
    what = f"{count:,} single rows have {NAMES[found.side]} that fit another row and not their own"
    evidence = {
        "side": found.side,
        "named_by_chance": round(found.by_chance, 1),
        "precision": round(found.precision, 3),
        "recall": round(found.recall, 4),
        "estimated": found.estimated,
        "fits": [[int(signals.row[a]), int(signals.row[b])] for a, b in zip(found.places, found.homes, strict=True)][
            :200
        ],
    }
    if not found.clear:
        sentence = f"{what}; {found.by_chance:.0f} would by chance: too few to say that rows are mispaired"
        return Finding("mispaired-rows", "note", sentence, ranges(rows), count, evidence, "read these rows first")
    share = (found.estimated or count) / total
    severity: Severity = "fault" if share >= _FAULT_SHARE else "warning"
    sentence = f"{what} ({found.by_chance:.0f} would by chance){found.rest()}"
    remedy = "--drop-mispaired leaves out those that can be named; mend what wrote the data for the rest"
    return Finding("mispaired-rows", severity, sentence, ranges(rows), count, evidence, remedy)
