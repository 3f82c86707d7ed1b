"""An evaluation in other tools' files, read back as those tools read them."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluations import stored

from dpo.errors import ConfigError, DataError
from dpo.evaluation.comparison.outside import read_outside
from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import RowStore, read_result
from dpo.evaluation.comparison.table import Table
from dpo.evaluation.formats.export import FORMATS, export
from dpo.evaluation.formats.page import html
from dpo.evaluation.formats.source import Exported
from dpo.evaluation.formats.tables import latex

SCHEMA = Path(__file__).parent.parent / "data" / "every-eval-ever-0.3.0.schema.json"
PAIRWISE = SCHEMA.with_name("pairwise-tools.schemas.json")  # from the tools' own documents, each named in it
HOSTILE = '<script>alert(1)</script> & "q" {% x %} 100 % \n# Title\n- one\n1. two\n**bold** 😄'


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """Six prompts with two samples each; "longer" says won, lost and tied."""
    tuned = [
        "longer answer",
        "a",
        "a long one here",
        "same",
        HOSTILE,
        "b c d",
        "x",
        "y",
        "t u",
        "v",
        "long long",
        "z z",
    ]
    base = ["short", "longer", "a", "same", "plain", "b", "xx", "yyy", "t", "v", "l", "z"]
    stored(tmp_path / "e", {"runs/tuned": tuned, "base": base}, [{"chosen": "yes 😄", "rejected": "no"}], samples=2)
    return tmp_path / "e"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_every_format_is_written_twice_the_same_and_where_it_is_told(evaluated: Path, tmp_path: Path) -> None:
    first = export(evaluated, list(FORMATS))
    before = {path: path.read_bytes() for path in first}
    assert len(first) == len(set(first)) and {path.relative_to(evaluated / "exports").parts[0] for path in first} == {
        name
        for name in FORMATS
        if name != "lm-eval"  # no tuned policy: no held-out pairs were scored
    }
    assert {path: path.read_bytes() for path in export(evaluated, list(FORMATS))} == before
    assert all(
        (tmp_path / "out").resolve() in path.resolve().parents for path in export(evaluated, ["csv"], tmp_path / "out")
    )
    with pytest.raises(ConfigError, match=r"No format is called 'xml': use alpaca-eval"):
        export(evaluated, ["xml"])
    with pytest.raises(DataError, match="holds no evaluation"):
        export(tmp_path / "nothing", ["csv"])


def test_alpaca_eval_reads_its_preferences(evaluated: Path) -> None:
    """As `metrics/winrate.py` does: 1 the baseline wins, 2 the model does, 1.5 is a draw."""
    paths = export(evaluated, ["alpaca-eval"])
    outputs, [annotations] = (
        [p for p in paths if p.name == "model_outputs.json"],
        [p for p in paths if "annotations" in p.parts],
    )
    rows = read(annotations)
    assert [row["preference"] for row in rows] == [2, 2, 2, 1, 2, 2]
    assert {(row["generator_1"], row["generator_2"]) for row in rows} == {("base", "runs/tuned")}
    assert rows[2]["output_2"] == HOSTILE and rows[2]["output_1"] == "plain" and rows[2]["instruction"] == "Question 2?"
    by_name = {
        row["generator"]: {one["instruction"]: one["output"] for one in read(p)} for p in outputs for row in read(p)
    }
    assert set(by_name) == {"runs/tuned", "base"} and by_name["base"]["Question 1?"] == "a"
    verdicts = read_outside("alpaca-eval", annotations)
    assert [v.winner for v in verdicts] == ["a", "a", "a", "b", "a", "a"] and verdicts[0].a == "runs/tuned"


def test_arena_hard_has_two_games_with_the_baseline_first(evaluated: Path) -> None:
    paths = {
        path.relative_to(evaluated / "exports" / "arena-hard").as_posix(): path
        for path in export(evaluated, ["arena-hard"])
    }
    assert set(paths) == {
        "t0.7/question.jsonl", "t0.7/model_answer/runs-tuned.jsonl", "t0.7/model_answer/base.jsonl",
        "t0.7/model_judgment/longer/runs-tuned.jsonl",
    }  # fmt: skip
    judged = read_lines(paths["t0.7/model_judgment/longer/runs-tuned.jsonl"])
    assert [[game["score"] for game in row["games"]] for row in judged[2:4]] == [["B>A", "A>B"], ["A>B", "B>A"]]
    assert all(re.fullmatch(r"[AB][<>=]+[AB]", game["score"]) for row in judged for game in row["games"])
    answers = {row["uid"]: row for row in read_lines(paths["t0.7/model_answer/runs-tuned.jsonl"])}
    assert (
        {row["uid"] for row in read_lines(paths["t0.7/question.jsonl"])}
        == set(answers)
        == {row["uid"] for row in judged}
    )
    metadata = answers["p2"]["metadata"]
    assert metadata["header_count"]["h1"] == 1 and metadata["list_count"] == {"ordered": 1, "unordered": 1}
    assert metadata["bold_count"] == {"**": 1, "__": 0}
    assert answers["p2"]["messages"][-1] == {"role": "assistant", "content": {"answer": HOSTILE}}


def test_battles_hold_every_verdict_and_are_read_back(evaluated: Path) -> None:
    [path] = export(evaluated, ["battles"])
    rows = read_lines(path)
    assert len(rows) == 12 and {row["winner"] for row in rows} == {"model_a", "model_b", "tie"}
    won = sum({"model_a": 1.0, "model_b": 0.0, "tie": 0.5}[row["winner"]] for row in rows) / 12
    assert won == pytest.approx(read_result(evaluated)["comparisons"][0]["win_rate"]["value"])
    assert (
        rows[4]["conv_metadata"]["header_count_a"]["h1"] == 1
        and rows[4]["conv_metadata"]["sum_assistant_b_tokens"] == 1
    )
    assert [v.winner for v in read_outside("battles", path)][:3] == ["a", "b", "a"]
    # A text may hold what only looks like the end of a line, and half a character.
    stored(path.parent / "odd", {"tuned": ["one\u2028line \ud83d"], "base": ["x"]})
    [odd] = export(path.parent / "odd", ["battles"])
    odd.write_text(odd.read_text(encoding="utf-8").replace("Question 0?", "Question\u2028 0?"), encoding="utf-8")
    assert [v.prompt for v in read_outside("battles", odd)] == ["Question\u2028 0?"]
    assert export(path.parent / "odd", list(FORMATS))


def test_llm_comparator_has_its_fields(evaluated: Path) -> None:
    [path] = export(evaluated, ["llm-comparator"])
    content = read(path)
    assert set(content) == {"metadata", "models", "examples"} and [m["name"] for m in content["models"]] == [
        "runs/tuned",
        "base",
    ]
    fields = {field["name"]: field["type"] for field in content["metadata"]["custom_fields_schema"]}
    assert set(fields.values()) == {"per_model_number"} and len(content["examples"]) == 12
    for example in content["examples"]:
        assert set(example) == {
            "input_text", "tags", "output_text_a", "output_text_b", "score", "individual_rater_scores", "custom_fields",
        }  # fmt: skip
        assert -1.5 <= example["score"] <= 1.5 and set(example["custom_fields"]) == set(fields)
        assert all(len(values) == 2 for values in example["custom_fields"].values())
        assert all(
            {"score", "is_flipped", "rationale", "rating_label"} == set(r) for r in example["individual_rater_scores"]
        )
    assert [example["score"] for example in content["examples"][:2]] == [1, -1]


def test_files_of_the_pairwise_tools_have_the_fields_that_those_document(evaluated: Path) -> None:
    schemas = read(PAIRWISE)
    alpaca = export(evaluated, ["alpaca-eval"])
    [comparator], [battles] = export(evaluated, ["llm-comparator"]), export(evaluated, ["battles"])
    written = [("llm-comparator", read(comparator)), ("arena-rank", read_lines(battles))]
    written += [
        (f"alpaca-eval {'annotations' if 'annotations' in path.parts else 'outputs'}", read(path)) for path in alpaca
    ]
    assert {name for name, _ in written} == set(schemas)
    for name, content in written:
        assert content and faults(content, schemas[name], schemas[name]) == [], name
    preferences = [row["preference"] for name, rows in written if name.endswith("annotations") for row in rows]
    assert all(one is None or 1 <= one <= 2 for one in preferences)
    broken = [row | {"winner": "tie (bothbad)"} for row in read_lines(battles)[:1]]  # arena-rank's map has no such word
    assert faults(broken, schemas["arena-rank"], {}) and faults({}, schemas["llm-comparator"], {})


def test_every_eval_ever_fits_its_published_schema(evaluated: Path) -> None:
    schema = read(SCHEMA)
    paths = export(evaluated, ["every-eval-ever"])
    assert {path.stem for path in paths} == {"runs-tuned", "base"}
    for path in paths:
        assert list(faults(read(path), schema, schema)) == []
    content = read(next(path for path in paths if path.stem == "runs-tuned"))
    rate = next(row for row in content["evaluation_results"] if row["evaluation_name"].startswith("win rate"))
    expected = read_result(evaluated)["comparisons"][0]["win_rate"]
    assert rate["score_details"]["score"] == expected["value"]
    assert rate["score_details"]["uncertainty"]["confidence_interval"]["lower"] == expected["low"]
    broken = content | {"eval_library": {"name": "x"}}
    assert any("version" in fault for fault in faults(broken, schema, schema))


def test_the_distance_from_the_start_stands_in_page_and_paper(evaluated: Path) -> None:
    store = RowStore(evaluated)
    assert store.plan is not None
    kl = {"value": 3.25, "low": 2.5, "high": 4.0, "error": 0.4, "n": 12}
    distance = {"policy": "runs/tuned", "against": "base", "prompts": 12, "kl": kl, "per_token": kl | {"value": 0.05}}
    without = result(store) | {"divergence": [distance | {"kl": None, "per_token": None}]}
    source = Exported(store, Table(store, store.plan), without | {"divergence": [distance]}, 0.0, "1")
    assert "3.25 [2.50, 4.00]" in latex(source)["kl.tex"]
    page = html(source)["report.html"]
    assert "Distance from the start" in page and ">3.25 (2.5" in page
    bare = replace(source, made=without)
    assert "kl.tex" not in latex(bare) and "Distance from the start" not in html(bare)["report.html"]


def test_tables_for_spreadsheets_and_papers(evaluated: Path) -> None:
    paths = {path.name: path for path in export(evaluated, ["csv", "latex", "rewardbench"])}
    rows = {
        name: list(csv.DictReader(io.StringIO(paths[name].read_text(encoding="utf-8"))))
        for name in paths
        if name.endswith(".csv")
    }
    assert rows["comparisons.csv"][0]["verdict"] == read_result(evaluated)["comparisons"][0]["verdict"]
    assert len(rows["answers.csv"]) == 24 and HOSTILE in {row["text"] for row in rows["answers.csv"]}
    assert {row["measure"] for row in rows["measures.csv"]} >= {"words", "ended", "emoji"}
    tables = paths["comparisons.tex"].read_text(encoding="utf-8")
    assert r"\toprule" in tables and "runs/tuned & base & 0.7 & longer" in tables and r"(\%)" in tables
    [pair, *_] = read_lines(paths["pairs.jsonl"])
    assert {"prompt", "chosen", "rejected"} <= set(pair) and read(paths["references.json"]) == {}


def test_the_html_report_needs_no_network_and_shows_text_as_text(evaluated: Path) -> None:
    [path] = export(evaluated, ["html"])
    content = path.read_text(encoding="utf-8")
    assert "<script" not in content and "&lt;script&gt;alert(1)" in content
    assert not re.search(r"(?:src|href)=|url\(|@import", content)
    made = read_result(evaluated)
    for says in (made["comparisons"][0]["verdict"], "runs/tuned", "Question 3?", made["changes"][0]["sentence"][:20]):
        assert says.replace("'", "&#39;") in content
    places = [content.index(f"Question {n}?") for n in (3, 0)]
    assert places == sorted(places)  # what was lost stands first


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("battles", '{"model_a": "x", "model_b": "y", "winner": "x", "prompt": "?"}', "row 1: winner is 'x'"),
        ("battles", '{"model_a": 1, "model_b": "y", "winner": "tie", "prompt": "?"}', "row 1: model_a, model_b and"),
        ("battles", "[1]", "row 1: it is no object"),
        ("battles", "nonsense", "is not JSON"),
        ("battles", "", "holds no verdict"),
        (
            "alpaca-eval",
            '[{"instruction": "?", "generator_1": "a", "generator_2": "b", "preference": 3}]',
            "preference is 3",
        ),
        (
            "alpaca-eval",
            '[{"instruction": "?", "generator_1": "a", "generator_2": "b", "preference": null}]',
            "no verdict",
        ),
        ("alpaca-eval", "[" * 5000, "is not JSON"),
    ],
)
def test_outside_verdicts_that_are_none_are_one_line(tmp_path: Path, kind: Any, text: str, says: str) -> None:
    path = tmp_path / "given.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(says)):
        read_outside(kind, path)
    with pytest.raises(DataError, match="cannot be read"):
        read_outside(kind, tmp_path / "missing")


def faults(value: Any, schema: Any, root: Any, where: str = "") -> list[str]:
    """What of a JSON value does not fit the parts of JSON Schema that Every Eval Ever uses."""
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, where)
    for several in ("oneOf", "anyOf"):
        if several in schema:
            tried = [faults(value, one, root, where) for one in schema[several]]
            return [] if [] in tried else [f"{where}: fits none of {several}: {tried}"]
    names = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool}
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(value is None if one == "null" else isinstance(value, names[one]) for one in types):
        return [f"{where}: {value!r} is no {types}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    if "const" in schema and value != schema["const"]:
        return [f"{where}: {value!r} is not {schema['const']!r}"]
    if isinstance(value, list):
        items = schema.get("items", {})
        return [fault for n, one in enumerate(value) for fault in faults(one, items, root, f"{where}/{n}")]
    return of_object(value, schema, root, where) if isinstance(value, dict) else []


def of_object(value: dict[str, Any], schema: Any, root: Any, where: str) -> list[str]:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    found = [f"{where}: {name} is missing" for name in schema.get("required", []) if name not in value]
    for name, one in value.items():
        if name not in known and more is False:
            found.append(f"{where}: {name} is not known")
        found += faults(one, known.get(name, more if isinstance(more, dict) else {}), root, f"{where}/{name}")
    return found
