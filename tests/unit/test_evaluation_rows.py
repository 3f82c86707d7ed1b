"""The files of an evaluation whatever tears them, and what is counted in answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluations import by_hand

from dpo.cli.evaluation_report import print_speeds
from dpo.errors import ConfigError, DataError
from dpo.evaluation.comparison.measured import count, difference, speeds, with_energy
from dpo.evaluation.comparison.measures import distinct, flesch, gzip_ratio, measure, self_bleu
from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import ROWS, VERDICTS, RowStore, read_result
from dpo.evaluation.comparison.table import Table
from dpo.evaluation.comparison.wording import passes, sentence
from dpo.evaluation.statistics.intervals import win_rate


def test_a_file_torn_anywhere_loses_only_its_last_row_and_grows_on(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    rows = [{"kind": "answer", "key": str(number), "text": "café 😄\n"} for number in range(3)]
    with store.writing():
        store.add(*rows)
        store.add(rows[0])  # there already
    content = (tmp_path / ROWS).read_bytes()
    assert content.count(b"\n") == 3
    start = content[:-1].rfind(b"\n") + 1
    for end in range(start, len(content)):
        (tmp_path / ROWS).write_bytes(content[:end])
        torn = RowStore(tmp_path)
        assert sorted(torn.answers) == ["0", "1"]
        with torn.writing():
            torn.add(*rows)
        assert (tmp_path / ROWS).read_bytes() == content


def test_damaged_rows_are_left_out_and_errors_are_no_verdicts(tmp_path: Path) -> None:
    (tmp_path / ROWS).write_bytes(b'[1]\n{"kind": "answer"}\nnonsense\n{"kind": "answer", "key": "a"}\n')
    (tmp_path / VERDICTS).write_text('{"key": "v", "error": "down"}\n{"key": "v", "error": null, "verdict": "a"}\n')
    store = RowStore(tmp_path)
    assert list(store.answers) == ["a"] and store.verdicts["v"]["verdict"] == "a"
    with pytest.raises(DataError, match="holds no evaluation yet"):
        result(store)
    with pytest.raises(DataError, match="run dpo eval"):
        read_result(tmp_path)


def test_measures_by_hand() -> None:
    made = measure("I'm an AI, it's true. I don't a b c d a b c d 😄😄", 20, "length")
    assert made["emoji"] == 2 and made["has_emoji"] == 1 and made["speaks_of_ai"] == 1
    assert made["contractions"] == 3 and made["first_person"] == 2
    assert (made["ended"], made["cut"], made["tokens"]) == (0, 1, 20)
    assert made["words"] == 16 and 0 < made["repeated_4grams"] < 0.2
    assert measure("the dog's bone", 3, "eos")["contractions"] == 0
    # 5 words of 5 syllables in a sentence; 9 words of 14 in two.  By hand: 206.835 - 1.015 w / s - 84.6 y / w.
    assert flesch("The cat sat on it. 😄") == pytest.approx(206.835 - 1.015 * 5 - 84.6)
    assert flesch("This information is good!\nDon't open the wooden table") == pytest.approx(
        206.835 - 1.015 * 9 / 2 - 84.6 * 14 / 9
    )
    assert flesch("😄 42!") is None and measure("", 1, "eos")["flesch"] is None
    # Bigrams and up: of "a b c d", "a b c e" 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, 0 of 1 (smoothed to a half).
    assert self_bleu(["a b c d", "a b c e"]) == pytest.approx((3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25, abs=1e-6)
    assert self_bleu(["a b c d"] * 3) == pytest.approx(1.0)
    assert distinct(["a b a", "a c"], 1, 5) == pytest.approx(3 / 5)
    assert distinct(["a b a", "a c"], 2, 5) == pytest.approx(1.0)  # no pair spans two texts
    assert distinct(["a b a b x y"], 2, 4) == pytest.approx(2 / 3)
    assert distinct(["a b"], 1, 5) is None and gzip_ratio([], 0) is None
    assert (gzip_ratio(["word " * 50], 50) or 0) > 4 > (gzip_ratio([" ".join(map(str, range(50)))], 50) or 0)


def test_the_prompt_is_the_unit_and_sides_mirror(tmp_path: Path) -> None:
    worths = [["a", "a"], ["a", "b"], ["tie", "a"], ["b", "b"], ["a", "tie"], ["a", "a"], ["b", "tie"], ["a", "a"]] * 3
    made = by_hand(tmp_path / "straight", worths)
    [row] = made["comparisons"]
    h = [np.mean([{"a": 1, "b": 0, "tie": 0.5}[word] for word in prompt]) for prompt in worths]
    expected = win_rate(h)
    assert row["win_rate"]["value"] == expected.value and row["win_rate"]["low"] == expected.low
    assert row["prompts"] == row["win_rate"]["n"] == 24 and made["complete"]
    assert (row["wins"], row["ties"], row["losses"]) == (15, 3, 6)
    assert set(row["slices"]) == {"short prompt", "long prompt"} and row["slices"]["long prompt"]["n"] == 12
    [mirrored] = by_hand(tmp_path / "swapped", worths, swapped=True)["comparisons"]
    assert mirrored["win_rate"]["value"] == pytest.approx(1 - row["win_rate"]["value"], abs=1e-12)
    assert mirrored["win_rate"]["low"] == pytest.approx(1 - row["win_rate"]["high"], abs=1e-12)
    assert (mirrored["losses"], mirrored["ties"], mirrored["wins"]) == (15, 3, 6)


def test_swapped_sides_mirror_every_number_of_a_comparison(tmp_path: Path) -> None:
    """Win rates as they are, at equal length and style and by slice; strengths; differences of measures."""
    from evaluations import stored

    draw = np.random.default_rng(8)
    sides = [
        ["word " * int(length) + "😄" * int(emoji) + " it's" * int(short) for length, emoji, short in table]
        for table in draw.integers(0, (9, 3, 3), (2, 180, 3))
    ]

    def judged(a: str, b: str) -> str:
        gap = len(a) % 7 + 3 * a.count("😄") - len(b) % 7 - 3 * b.count("😄")
        return "tie" if abs(gap) < 2 else "a" if gap > 0 else "b"

    names = ("tuned", "base")
    made = stored(tmp_path / "one", dict(zip(names, sides, strict=True)), samples=2, models=[judged])
    turned = stored(tmp_path / "two", dict(zip(names[::-1], sides[::-1], strict=True)), samples=2, models=[judged])
    [_, own], [_, other] = made["comparisons"], turned["comparisons"]
    assert (own["wins"], own["ties"], own["losses"]) == (other["losses"], other["ties"], other["wins"])
    assert own["p"] == pytest.approx(other["p"], rel=1e-9)
    for name in ("win_rate", "length_controlled", "style_controlled"):
        low, value, high = (own[name][part] for part in ("low", "value", "high"))
        mirrored = [1 - other[name][part] for part in ("high", "value", "low")]
        assert [low, value, high] == pytest.approx(mirrored, abs=1e-12)
    assert own["style_slopes"] == pytest.approx(other["style_slopes"], abs=1e-9)
    ours, theirs = (one["strengths"][0]["policies"] for one in (made, turned))
    by_name = {row["policy"]: row for row in theirs}
    assert all(
        row["at_equal_style"] == pytest.approx(by_name[row["policy"]]["at_equal_style"], abs=1e-9) for row in ours
    )
    first, second = made["measures"][0]["values"], turned["measures"][0]["values"]
    for name, row in first.items():
        gap, back = row["difference"], second[name]["difference"]
        assert gap["value"] == -back["value"], name
        assert gap["low"] == (None if back["high"] is None else -back["high"])


def test_measures_claim_no_certainty_and_stay_in_their_range(tmp_path: Path) -> None:
    made = by_hand(tmp_path / "e", [["a"], ["a"], ["b"]])["measures"]
    own, base = (row["values"] for row in made)
    # All answers have 4 tokens and ended: nothing says how the next prompt's would be.
    for name in ("tokens", "ended"):
        assert own[name]["difference"]["value"] == 0 and own[name]["difference"]["low"] is None
    assert own["tokens"]["value"]["low"] is None and 0 < own["ended"]["value"]["low"] < 1
    assert difference([1.0, 1.0, 0.0], [0.0, 0.0, 1.0], share=True).high == 1.0
    assert difference([9.0, 1.0, 0.0], [0.0, 0.0, 1.0], share=False).high > 1.0
    assert count([0.0, 0.0, 1.0]).low == 0.0 and base["words"]["value"]["value"] == 2


def test_is_it_more_than_emoji(tmp_path: Path) -> None:
    """A judge that counts emoji and one that reads: at equal style the first one's gain is gone, the other's stays."""
    from evaluations import stored

    draw = np.random.default_rng(4)
    padding = [[" indeed" * int(count) for count in draw.integers(0, 9, 2)] for _ in range(90)]
    tuned = [f"Sure thing number {n}{pad}" + " 😄" * int(draw.integers(0, 4)) for n, (pad, _) in enumerate(padding)]
    base = [f"Well then number {n}{pad}" + " 😄" * int(draw.integers(0, 2)) for n, (_, pad) in enumerate(padding)]
    noise = dict(zip(tuned, draw.random((90, 2)), strict=True))

    def likes_emoji(a: str, b: str) -> str:
        gap = a.count("😄") - b.count("😄")
        return "a" if noise[a][0] < 1 / (1 + np.exp(-1.5 * gap)) else "b"

    def reads(a: str, b: str) -> str:
        return "a" if noise[a][1] < 0.8 else "b"

    made = stored(tmp_path / "e", {"tuned": tuned, "base": base}, models=[likes_emoji, reads])
    rule, emoji, reader = made["comparisons"]
    assert rule["style_controlled"] is None and "emoji" in emoji["style_slopes"]
    assert emoji["win_rate"]["low"] > 0.55 and emoji["style_controlled"]["low"] < 0.5
    assert emoji["style_slopes"]["emoji"] > 1 > abs(reader["style_slopes"]["emoji"])
    assert reader["style_controlled"]["low"] > 0.6
    by_emoji, by_reader = made["strengths"]
    own = {row["policy"]: row for row in by_emoji["policies"]}
    assert own["tuned"]["strength"] == -own["base"]["strength"] > own["tuned"]["at_equal_style"]
    assert own["tuned"]["at_equal_style"] < 2 * own["tuned"]["at_equal_style_error"]
    read = by_reader["policies"][0]
    rate = reader["win_rate"]["value"]
    # Two policies: the log-odds of the win rate, half to each side, drawn in a little by the prior.
    assert read["strength"] == pytest.approx(np.log(rate / (1 - rate)) / 2, abs=0.02)
    assert read["at_equal_style"] > 2 * read["at_equal_style_error"]
    assert made["alpha"]["judges"] == ["model 0", "model 1"] and made["alpha"]["verdicts"] == 180
    assert made["alpha"]["n"] == 90 and -0.3 < made["alpha"]["low"] < made["alpha"]["value"] < made["alpha"]["high"]
    [kappa] = [row for row in made["agreement"] if row["first"] == "model 0" and row["second"] == "model 1"]
    assert kappa["verdicts"] == 90
    few = stored(tmp_path / "few", {"tuned": tuned[:20], "base": base[:20]}, models=[reads])
    assert few["comparisons"][1]["style_controlled"] is None and few["strengths"] == [] and few["alpha"] is None


def test_several_answers_to_a_prompt_are_compared_with_each_other(tmp_path: Path) -> None:
    from evaluations import stored

    same, other = ["one two three four five"] * 2, ["one two three four five", "six seven eight nine ten"]
    made = stored(tmp_path / "several", {"tuned": same * 6, "base": other * 6}, samples=2)
    own, base = (row["self_bleu"] for row in made["measures"])
    assert own["value"]["value"] == pytest.approx(1.0) and base["value"]["value"] < 0.2
    assert own["difference"]["n"] == 6 and own["difference"]["value"] > 0.8
    single = stored(tmp_path / "single", {"tuned": ["a"], "base": ["b"]})
    assert single["measures"][0]["self_bleu"] == {"value": None, "difference": None}


def test_answers_of_an_earlier_version_are_measured_as_new_ones(tmp_path: Path) -> None:
    from evaluations import stored

    made = stored(tmp_path, {"tuned": ["Good it is. 😄", "!"], "base": ["An idea", "So"]})
    rows = [json.loads(line) for line in (tmp_path / ROWS).read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if row["kind"] == "answer":
            row["measures"] = {"words": row["measures"]["words"]}
    (tmp_path / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    store = RowStore(tmp_path)
    assert result(store) == made and made["measures"][0]["values"]["flesch"]["value"]["n"] == 1
    assert store.plan is not None
    assert [(row["policy"], row["tokens"], row["seconds"]) for row in speeds(Table(store, store.plan))] == [
        ("tuned", 5, 0.2), ("base", 3, 0.2),
    ]  # fmt: skip


def test_energy_is_told_where_it_was_measured_and_is_no_part_of_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from evaluations import stored

    made = stored(tmp_path, {"tuned": ["a b c", "d"], "base": ["e f", "g"]})
    rows = [json.loads(line) for line in (tmp_path / ROWS).read_text(encoding="utf-8").splitlines()]
    answers = [row for row in rows if row["kind"] == "answer" and row["policy"] == "tuned"]
    failed = {"text": None, "error": "too long"}
    metered = with_energy([*answers, failed], 2.0, 2.4)
    assert [row.get("wh") for row in metered] == [pytest.approx(0.3), pytest.approx(0.1), None]
    assert with_energy(answers, None, 2.4) == with_energy(answers, 2.0, None) == answers
    rows = [metered[0] if row["key"] == metered[0]["key"] else row for row in rows]  # the others without a GPU
    (tmp_path / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    store = RowStore(tmp_path)
    assert result(store) == made and store.plan is not None
    found = list(speeds(Table(store, store.plan)))
    assert [row["wh_per_1000_tokens"] for row in found] == [pytest.approx(100), None]
    print_speeds(found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("temperature 0.7, 100 Wh for 1,000 tokens") and "Wh" not in lines[1]
    assert "Energy is not known" in lines[2] and len(lines) == 3


def test_words_follow_numbers(tmp_path: Path) -> None:
    sure = by_hand(tmp_path / "sure", [["a"]] * 30)["comparisons"][0]
    assert sure["verdict"] == "better" and "more often" in sure["sentence"] and "100.0 %" in sure["sentence"]
    unsure = by_hand(tmp_path / "unsure", [["a"], ["b"]] * 5)["comparisons"][0]
    assert unsure["verdict"] == "cannot tell at this size" and unsure["verdict"] in unsure["sentence"]
    equal = by_hand(tmp_path / "equal", [["tie"]] * 80)["comparisons"][0]
    assert equal["wins"] == equal["losses"] == 0 and equal["win_rate"]["value"] == 0.5
    rated = sure | {
        "kind": "reward",
        "says": "agreement",
        "relation": {"word": "related", "why": "it is itself judged"},
    }
    assert sentence(rated) == (
        "tuned is better than base by agreement: 100.0 % (88.6 to 100.0) of 30 prompts at temperature 0.7; "
        "related judge: it is itself judged"
    )
    assert passes(sure, 60)[0] and "passed" in passes(sure, 60)[1] and "cannot tell" not in passes(sure, 60)[1]
    assert not passes(unsure, 51)[0] and "cannot tell" in passes(unsure, 51)[1]
    assert passes(unsure, 50)[0]
    # The printed number decides: 59.96 % is printed as 60.0 %.
    rounded = unsure | {"win_rate": unsure["win_rate"] | {"value": 0.59960}}
    assert passes(rounded, 60) == (True, passes(rounded, 60)[1]) and "60.0 %" in passes(rounded, 60)[1]


def test_judges_are_named() -> None:
    from dpo.evaluation.comparison.judges import parse_judge

    assert parse_judge("votes", "v.sqlite").path == "v.sqlite"
    assert (
        parse_judge("reward:demo/gpt2-dpo", "").identity != parse_judge("reward-per-token:demo/gpt2-dpo", "").identity
    )
    with pytest.raises(ConfigError, match="No judge"):
        parse_judge("reward:", "")


def test_lineage_of_the_bundled_policies(tmp_path: Path) -> None:
    from dpo.evaluation.comparison.lineage import base_policy, held_out_fraction, policy_hash, relation

    assert base_policy("demo/gpt2-dpo") == "demo/gpt2" and held_out_fraction(("demo/t5-dpo", "demo/gpt2")) == 0.05
    assert policy_hash("demo/gpt2") != policy_hash("demo/gpt2-dpo")
    assert relation("demo/t5-dpo", "demo/gpt2").word == "related"
    assert "itself" in relation("demo/t5-dpo", "demo/t5-dpo").why
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    before = policy_hash(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    assert policy_hash(str(tmp_path)) != before
    assert relation("demo/t5-dpo", str(tmp_path)).word == "unknown" and base_policy(str(tmp_path)) is None


def test_what_changed_is_said_of_what_is_sure_only(tmp_path: Path) -> None:
    """Answers and pairs of which every trait is known; prompts without an answer of both count for nothing."""
    from evaluations import SAMPLING, stored

    said = "Sure 😄 I'd love that, it's awesome!"
    plain = "As an assistant I can provide some information on the matter that you have raised with me today."
    made = stored(
        tmp_path, {"tuned": [said] * 12 + [None], "base": [plain] * 13}, pairs=[{"chosen": said, "rejected": plain}]
    )
    [changed] = made["changes"]
    assert changed["prompts"] == 12 and (changed["policy"], changed["against"]) == ("tuned", "base")
    assert changed["sentence"].startswith("tuned's answers are 11 words shorter than base's (7, 18), have 2.0 more con")
    assert "hold an emoji in 100 % (0 %)" in changed["sentence"] and "“" in changed["sentence"]
    more, less = ({row["word"] for row in changed[side]} for side in ("more", "less"))
    assert {"awesome", "😄", "it's awesome"} & more and {"assistant", "as an"} & less and not more & less
    assert made["taught"]["pairs"] == 13 and {row["word"] for row in made["taught"]["more"]} & more
    same = stored(tmp_path / "same", {"tuned": [said] * 12, "base": [said] * 12})
    assert same["changes"][0]["sentence"].startswith("Nothing that is counted differs for sure") and SAMPLING
    assert same["changes"][0]["more"] == same["taught"]["more"] == []


def test_looked_at_again_and_again_the_intervals_are_sequences(tmp_path: Path) -> None:
    from evaluations import stored

    from dpo.evaluation.comparison.result import is_clear
    from dpo.evaluation.statistics.planning import sequence

    longer, same, shorter = ["long answer"] * 40, ["long answer"] * 40, ["x"] * 36 + ["a longer answer"] * 4
    clear = stored(tmp_path / "clear", {"tuned": longer, "base": shorter}, until_clear=True)
    [row] = clear["comparisons"]
    expected = sequence([1.0] * 36 + [0.0] * 4)
    assert (row["win_rate"]["low"], row["win_rate"]["high"]) == (expected.low, expected.high) and expected.high == 1.0
    assert row["verdict"] == "better" and row["p"] is None and "h" not in row and is_clear(clear)
    plain = stored(tmp_path / "plain", {"tuned": longer, "base": shorter})
    assert plain["comparisons"][0]["win_rate"]["low"] > row["win_rate"]["low"] and not is_clear(plain)
    assert not is_clear(stored(tmp_path / "open", {"tuned": longer, "base": same}, until_clear=True))


def test_topics_and_own_slices(tmp_path: Path) -> None:
    from evaluations import stored

    from dpo.evaluation.comparison.slices import own_slices, slices_of, topics

    food = [f"What pizza topping goes with {thing} cheese?" for thing in ("old", "new", "soft", "hard", "red") * 6]
    travel = [f"Which train should I take to the {thing} coast?" for thing in ("old", "new", "soft", "hard", "red") * 6]
    found = topics([*food, *travel])
    assert len(set(found[:30])) == len(set(found[30:])) == 1 and found[0] != found[-1]
    assert found == topics([*food, *travel])
    assert {"pizza", "topping", "goes", "cheese"} >= set((found[0] or "").split(", "))
    assert topics(food[:10]) == [None] * 10 and topics(["1 2 3"] * 50) == [None] * 50
    prompts = [{"key": str(n), "prompt": text} for n, text in enumerate([*food[:2], travel[0]])]
    assert slices_of(prompts, ["trips=TRAIN|plane", "new ones=new"]) == {"1": ["new ones"], "2": ["trips"]}
    for wrong, says in ((["x"], "NAME=PATTERN"), (["a=x", "a=y"], "twice"), (["a=("], "regular expression")):
        with pytest.raises(ConfigError, match=says):
            own_slices(wrong)
    stored(tmp_path, {"tuned": ["a longer one"] * 6 + ["x"] * 6, "base": ["middle"] * 12})
    store = RowStore(tmp_path)
    assert store.plan is not None
    store.plan = store.plan | {"slices": {f"p{n}": ["first"] for n in range(6)}}
    [row] = result(store)["comparisons"]
    assert row["slices"]["first"]["value"] == 1.0 and row["slices"]["first"]["n"] == 6
