"""How far a policy moved from what it is compared with, and what it forgot: what is asked, and what it says (no torch).

KL is of a policy's own answers at temperature 1, nothing cut from the distribution, over their first tokens, as in the
record of a training.  Likelihoods are of texts that the policy did not write: the chosen answers of the held-out pairs,
and plain texts, of which it is given the first half as a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dpo.errors import DataError
from dpo.evaluation.comparison.measured import count, difference
from dpo.evaluation.comparison.rows import Row, RowStore, key_of
from dpo.evaluation.comparison.table import Table
from dpo.evaluation.statistics.intervals import Estimate, mean

if TYPE_CHECKING:
    from dpo.evaluation.comparison.plan import Plan

Kind = Literal["chosen", "plain"]
KINDS: tuple[Kind, ...] = ("chosen", "plain")
_FEWEST_WORDS, _MOST_TEXTS = 10, 1_000


def kl_key(policy_hash: str, against_hash: str, prompt_hash: str, seed: int) -> str:
    """By what the KL of a policy to another on a prompt is found again."""
    return key_of("kl", policy_hash, against_hash, prompt_hash, seed)


def likelihood_key(policy_hash: str, kind: Kind, text_key: str) -> str:
    """By what the likelihood of a text under a policy is found again."""
    return key_of("likelihood", policy_hash, kind, text_key)


def plain_texts(path: str | None) -> tuple[Row, ...]:
    """Rows of the plain texts in a file, one a paragraph, or of those that come with the project.

    `prompt` is the first half of a text's words, `text` the other.

    Raises:
        DataError: the file cannot be read, or no paragraph has ten words.
    """
    try:
        source = files("dpo.evaluation") / "plain.txt" if path is None else Path(path)
        content = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--plain-text {path}: it cannot be read as UTF-8 text ({error})") from error
    paragraphs = [" ".join(part.split()) for part in content.replace("\r\n", "\n").split("\n\n")]
    long = list(dict.fromkeys(part for part in paragraphs if len(part.split()) >= _FEWEST_WORDS))
    if not long:
        raise DataError(f"--plain-text {path}: no paragraph has {_FEWEST_WORDS} words; leave empty lines between them")
    halves = [(words[: len(words) // 2], words[len(words) // 2 :]) for words in map(str.split, long[:_MOST_TEXTS])]
    return tuple(
        {"kind": "text", "key": key_of("text", *map(" ".join, half)), "prompt": " ".join(half[0]),
         "text": " ".join(half[1])}
        for half in halves
    )  # fmt: skip


def waiting_kl(plan: Plan, store: RowStore) -> dict[tuple[str, str], list[Row]]:
    """The prompts on which each comparison's KL is still to be measured, by policy and what it is compared with."""
    return {
        (policy, against): [
            prompt for prompt in plan.prompts[: plan.config.kl_prompts]
            if kl_key(plan.policies[policy], plan.policies[against], prompt["hash"], plan.config.seed) not in store.kls
        ]
        for policy, against in plan.comparisons
    }  # fmt: skip


def asked_texts(prompts: Sequence[Row], texts: Sequence[Row]) -> Iterator[tuple[Kind, str, Row, str]]:
    """Kind, key, prompt and text of everything whose likelihood is asked for."""
    for prompt in prompts:
        for place, pair in enumerate(prompt["pairs"]):
            yield "chosen", key_of(prompt["key"], place), prompt, pair["chosen"]
    for text in texts:
        yield "plain", text["key"], text, text["text"]


def waiting_texts(plan: Plan, store: RowStore) -> dict[str, list[tuple[str, Row, str]]]:
    """Key of the row, prompt and text of the likelihoods that each policy still lacks."""
    asked = list(asked_texts(plan.prompts, plan.texts))
    return {
        policy: [
            (key, prompt, text)
            for kind, place, prompt, text in asked
            if (key := likelihood_key(content, kind, place)) not in store.likelihoods
        ]
        for policy, content in plan.policies.items()
    }


def divergences(table: Table) -> Iterator[Row]:
    """KL of each policy to what it is compared with, in nats: Rao-Blackwellised, beside two plainer estimates.

    `kl`, `k1` and `k3` are of an answer (its first tokens), `per_token` of a token, averaged by prompt.
    `left_out` counts the prompts on which it could not be measured, `why` says why of one.
    """
    for policy, against in table.plan["comparisons"]:
        hashes = table.plan["policies"][policy], table.plan["policies"][against]
        keys = _kl_keys(table, *hashes)
        found = [table.store.kls[key] for key in keys if key in table.store.kls]
        known = [row for row in found if "error" not in row]
        row: Row = {
            "policy": policy, "against": against, "prompts": len(known), "left_out": len(found) - len(known),
            "why": next((row["error"] for row in found if "error" in row), None),
            "kl": None, "per_token": None, "k1": None, "k3": None,
        }  # fmt: skip
        if known:
            row |= {name: asdict(count(one[name] for one in known)) for name in ("kl", "k3")}
            row["k1"] = asdict(mean([one["k1"] for one in known]))
            row["per_token"] = asdict(count(one["kl"] / one["tokens"] for one in known))
        if found:
            yield row


def kls_of(table: Table, policy: str, against: str) -> dict[str, float]:
    """KL of a policy to another in nats by the prompt's key, where it was asked for and could be measured."""
    hashes = table.plan["policies"][policy], table.plan["policies"][against]
    rows = zip(table.prompts, _kl_keys(table, *hashes), strict=False)
    found = ((prompt["key"], table.store.kls.get(key, {"error": ""})) for prompt, key in rows)
    return {key: row["kl"] for key, row in found if "error" not in row}


def _kl_keys(table: Table, policy_hash: str, against_hash: str) -> list[str]:
    asked = table.prompts[: table.plan.get("kl_prompts", 0)]
    return [kl_key(policy_hash, against_hash, prompt["hash"], table.plan["seed"]) for prompt in asked]


def measured_all(table: Table) -> bool:
    """Whether every KL and likelihood that was asked for is there."""
    hashes = table.plan["policies"]
    kls = (
        key for policy, against in table.plan["comparisons"] for key in _kl_keys(table, hashes[policy], hashes[against])
    )
    if "texts" not in table.plan:
        return True  # a plan of an earlier version, which asked for none
    likelihoods = (
        likelihood_key(content, kind, place) for content in hashes.values() for kind, place, _, _ in _asked(table)
    )
    return all(key in table.store.kls for key in kls) and all(key in table.store.likelihoods for key in likelihoods)


def _asked(table: Table) -> list[tuple[Kind, str, Row, str]]:
    texts = table.store.texts
    return list(asked_texts(table.prompts, [texts[key] for key in table.plan.get("texts", ()) if key in texts]))


def perplexities(table: Table) -> Iterator[Row]:
    """How well each policy predicts texts that it did not write, beside what it is compared with.

    `perplexity` is exp of the mean nats a token over prompts (or texts), each counting once; it can be compared between
    policies of one vocabulary only.  `bits` are bits a character, `difference` those of the policy minus the other's,
    paired: above 0, the policy predicts such text less well than before.
    """
    asked = _asked(table)
    found = {policy: dict(_by_prompt(table, content, asked)) for policy, content in table.plan["policies"].items()}
    for policy in table.plan["policies"]:
        against = next((b for a, b in table.plan["comparisons"] if a == policy), None)
        for kind in KINDS:
            own, other = (
                {} if name is None else {where: values for where, values in found[name].items() if where[0] == kind}
                for name in (policy, against)
            )
            if not own:
                continue
            common = [where for where in own if where in other]
            gaps = [own[where][1] for where in common], [other[where][1] for where in common]
            yield {
                "policy": policy, "against": against, "kind": kind, "texts": len(own),
                "perplexity": _transformed(mean([nats for nats, _ in own.values()]), math.exp),
                "bits": asdict(count(bits for _, bits in own.values())),
                "difference": asdict(difference(*gaps)) if common else None,
            }  # fmt: skip


def _by_prompt(
    table: Table, content: str, asked: Sequence[tuple[Kind, str, Row, str]]
) -> Iterator[tuple[tuple[Kind, str], tuple[float, float]]]:
    """Nats a token and bits a character by kind and prompt, the texts of one prompt together."""
    sums: dict[tuple[Kind, str], tuple[float, int, int]] = {}
    for kind, place, prompt, text in asked:
        row = table.store.likelihoods.get(likelihood_key(content, kind, place))
        if row is not None and "error" not in row and text:
            nats, tokens, characters = sums.get((kind, prompt["key"]), (0.0, 0, 0))
            sums[kind, prompt["key"]] = nats - row["logp"], tokens + row["tokens"], characters + len(text)
    for where, (nats, tokens, characters) in sums.items():
        yield where, (nats / tokens, nats / characters / math.log(2))


def _transformed(made: Estimate, change: Callable[[float], float]) -> Row:
    """An estimate with its value and its interval changed by an increasing function; its error is left out."""
    low, high = (None if end is None else change(end) for end in (made.low, made.high))
    return asdict(made) | {"value": change(made.value), "low": low, "high": high, "error": None}
