"""An evaluation as tables: CSV for spreadsheets, LaTeX for a paper (no torch here)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dpo.evaluation.comparison.measures import MEASURES
from dpo.evaluation.comparison.wording import verdict_word
from dpo.evaluation.formats.source import Exported, Files

_COMPARED = ("policy", "against", "temperature", "judge", "prompts", "wins", "ties", "losses", "invalid")
_ESTIMATE = ("value", "low", "high", "error", "n")
_ESCAPED = str.maketrans(
    {
        "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    }
)  # fmt: skip


def csv_tables(source: Exported) -> Files:
    """`comparisons.csv`, `measures.csv`, `held_out.csv`, `drift.csv`, `words.csv`, and all answers in `answers.csv`."""
    return {
        "comparisons.csv": _csv(
            [*_COMPARED, *(f"win_rate_{part}" for part in _ESTIMATE), "p", "p_adjusted", "verdict"],
            ([*(row[name] for name in _COMPARED), *_parts(row["win_rate"]), row["p"], row["p_adjusted"], row["verdict"]]
             for row in source.made["comparisons"]),
        ),
        "measures.csv": _csv(
            ["policy", "against", "temperature", "measure", *_ESTIMATE, *(f"difference_{part}" for part in _ESTIMATE)],
            ([row["policy"], row["against"], row["temperature"], name,
              *_parts(row["values"][name]["value"]), *_parts(row["values"][name]["difference"])]
             for row in source.made["measures"] for name in MEASURES),
        ),
        "held_out.csv": _csv(
            ["policy", "reference", "beta", "pairs", "measure", *_ESTIMATE],
            ([row["policy"], row["reference"], row["beta"], row["pairs"], name, *_parts(row[name])]
             for row in source.made["held_out"] for name in ("accuracy", "margin", "loss")),
        ),
        "drift.csv": _csv(
            ["policy", "against", "measure", *_ESTIMATE],
            ([row["policy"], row["against"], name, *_parts(estimate)] for row, name, estimate in _drift(source.made)),
        ),
        "words.csv": _csv(
            ["policy", "against", "temperature", "word", "log_odds", "t", "p", "per_1000", "per_1000_against"],
            ([row["policy"], row["against"], row["temperature"],
              *(word[name] for name in ("word", "log_odds", "t", "p")), *word["rates"]]
             for row in source.made["changes"] for side in ("more", "less") for word in row[side]),
        ),
        "answers.csv": _csv(["prompt_key", "prompt", "policy", "temperature", "sample", "text", *MEASURES],
                            _answers(source)),
    }  # fmt: skip


def _drift(made: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, Mapping[str, Any] | None]]:
    """A row of the result, what was measured, and its estimate: KL in nats, perplexity, and bits a character."""
    for row in made["divergence"]:
        for name in ("kl", "per_token", "k1", "k3"):
            yield row, name, row[name]
    for row in made["perplexity"]:
        for name in ("perplexity", "bits", "difference"):
            yield row, f"{name} of {row['kind']} text", row[name]


def _answers(source: Exported) -> Iterator[list[Any]]:
    for prompt in source.table.prompts:
        for policy in source.plan["policies"]:
            for t in source.plan["temperatures"]:
                for row in source.table.written(policy, prompt, t):
                    measures = [row["measures"].get(name) for name in MEASURES]
                    yield [prompt["key"], prompt["prompt"], policy, t, row["sample"], row["text"], *measures]


def _parts(estimate: Mapping[str, Any] | None) -> list[Any]:
    return [None if estimate is None else estimate[part] for part in _ESTIMATE]


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def latex(source: Exported) -> Files:
    """`comparisons.tex`, `measures.tex`, and `kl.tex` where there is one: tables for a paper (packages: booktabs)."""
    compared = [
        (
            row["policy"], row["against"], f"{row['temperature']:g}", row["judge"], _shown(row["win_rate"], 100, 1),
            f"{row['wins']} / {row['ties']} / {row['losses']}", verdict_word(row),
        )
        for row in source.made["comparisons"] if row["win_rate"] is not None
    ]  # fmt: skip
    measured = [
        (row["policy"], f"{row['temperature']:g}", measure.label + (r" (%)" if measure.share else ""),
         *(_shown(row["values"][name][part], 100 if measure.share else 1, 1) for part in ("value", "difference")))
        for row in source.made["measures"] for name, measure in MEASURES.items() if row["against"]
    ]  # fmt: skip
    distances = [
        (row["policy"], row["against"], str(row["prompts"]), _shown(row["kl"], 1, 2), _shown(row["per_token"], 1, 4))
        for row in source.made["divergence"] if row["kl"] is not None
    ]  # fmt: skip
    headings = "Policy", "Against", "Temperature", "Judge", "Win rate (%)", "Won / tied / lost", "Verdict"
    note = f"{source.made['prompts']} held-out prompts; 95 % intervals over prompts."
    kl = {"kl.tex": _latex(("Policy", "To", "Prompts", "KL (nats an answer)", "KL a token"), distances, note)}
    return {
        **(kl if distances else {}),
        "comparisons.tex": _latex(headings, compared, note),
        "measures.tex": _latex(("Policy", "Temperature", "Measure", "Value", "Difference"), measured, note),
    }


def _shown(estimate: Mapping[str, Any] | None, scale: float, digits: int) -> str:
    if estimate is None:
        return "--"
    value = f"{estimate['value'] * scale:.{digits}f}"
    if estimate["low"] is None:
        return value
    return f"{value} [{estimate['low'] * scale:.{digits}f}, {estimate['high'] * scale:.{digits}f}]"


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    body = [header, *rows]
    written = [" & ".join(str(cell).translate(_ESCAPED) for cell in row) + r" \\" for row in body]
    return "\n".join(
        [
            f"% {note}", rf"\begin{{tabular}}{{{'l' * len(header)}}}", r"\toprule", written[0], r"\midrule",
            *written[1:], r"\bottomrule", r"\end{tabular}", "",
        ]
    )  # fmt: skip
