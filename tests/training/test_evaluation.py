"""An evaluation with tiny policies: made once, resumed after any kill, and a function of its two files."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluations import PROMPTS, config_of
from tiny import save_tiny

from dpo.cli.main import main
from dpo.errors import BusyError, ConfigError, DataError, PolicyError
from dpo.evaluation.comparison.plan import EvaluationConfig, make_plan
from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import ROWS, VERDICTS, RowStore, read_result
from dpo.evaluation.comparison.work import evaluate
from dpo.evaluation.pairs import score_pairs
from dpo.preferences.split import is_held_out


def keys(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_generates_scores_and_judges_once_and_never_again(tuned_home: Path, evaluated: Path) -> None:
    made = read_result(evaluated)
    store = RowStore(evaluated)
    assert made["complete"] and made["prompts"] == PROMPTS
    assert len(store.answers) == 2 * PROMPTS and len(store.pairs) == PROMPTS and len(store.verdicts) == 3 * PROMPTS
    assert all(is_held_out(prompt["prompt"], 0.3) for prompt in store.prompts.values())
    before = (evaluated / ROWS).read_bytes(), (evaluated / VERDICTS).read_bytes()
    again = evaluate(config_of(tuned_home, evaluated))
    assert (again.generated, again.scored, again.judged) == (0, 0, 0) and again.result == made
    assert before == ((evaluated / ROWS).read_bytes(), (evaluated / VERDICTS).read_bytes())
    assert result(RowStore(evaluated)) == made  # of the two files alone
    rows = (evaluated / ROWS).read_text(encoding="utf-8").splitlines()
    shuffled = evaluated.parent / "shuffled"
    shuffled.mkdir()
    (shuffled / ROWS).write_text("\n".join(rows[::-1]) + "\n", encoding="utf-8")
    shutil.copy(evaluated / VERDICTS, shuffled)
    assert result(RowStore(shuffled)) == made


def test_the_numbers_are_those_of_the_rows(tuned_home: Path, evaluated: Path) -> None:
    """Win rate, reward and held-out measures against the scorer and plain arithmetic."""
    from dpo.evaluation.lens import open_lens

    made, store, run = read_result(evaluated), RowStore(evaluated), str(tuned_home / "run")
    [row] = [row for row in made["comparisons"] if row["judge"] == f"reward:{run}"]
    assert row["relation"]["word"] == "related" and row["says"] == f"agreement with the training preference of {run}"
    answers = {(a["policy"], a["prompt_hash"]): a for a in store.answers.values()}
    base = str(tuned_home / "base")
    pairs = [
        {"prompt": p["prompt"], "chosen": answers[run, p["hash"]]["text"], "rejected": answers[base, p["hash"]]["text"]}
        for p in store.prompts.values()
    ]
    lens = open_lens(run, device="cpu")
    scores, _ = score_pairs(lens, pairs)
    assert row["win_rate"]["value"] == pytest.approx(sum(score.right for score in scores) / PROMPTS)
    assert row["wins"] + row["ties"] + row["losses"] == row["prompts"] == PROMPTS
    [held_out] = made["held_out"]
    data = [{"prompt": p["prompt"], **p["pairs"][0]} for p in store.prompts.values()]
    ranked, _ = score_pairs(lens, data)
    assert held_out["accuracy"]["value"] == pytest.approx(sum(score.right for score in ranked) / PROMPTS)
    assert held_out["margin"]["value"] == pytest.approx(sum(score.margin for score in ranked) / PROMPTS, abs=1e-6)
    assert held_out["rules"]["emoji"]["value"] == 1.0 and held_out["shortcut"]["feature"] == "emoji"
    [own, other] = made["measures"]
    words = [len(answers[run, p["hash"]]["text"].split()) for p in store.prompts.values()]
    theirs = [len(answers[base, p["hash"]]["text"].split()) for p in store.prompts.values()]
    assert own["values"]["words"]["value"]["value"] == pytest.approx(sum(words) / PROMPTS)
    assert own["values"]["words"]["difference"]["value"] == pytest.approx((sum(words) - sum(theirs)) / PROMPTS)
    assert other["against"] is None and other["values"]["words"]["difference"] is None


def test_killed_after_every_batch_and_resumed_it_is_the_same(tuned_home: Path, evaluated: Path, tmp_path: Path) -> None:
    """SIGKILL at each point at which something was just written, resume after resume, until nothing is left."""
    target, kills = tmp_path / "e", 0

    def once() -> int:
        child = os.fork()
        if child == 0:
            # New rows since this process began, of either file: then it is gone, without any clean-up.
            size = sum(path.stat().st_size for path in target.glob("*.jsonl"))

            def kill(stage: str, done: int, total: int) -> None:
                if sum(path.stat().st_size for path in target.glob("*.jsonl")) > size + 1:
                    os.kill(os.getpid(), signal.SIGKILL)

            try:
                evaluate(config_of(tuned_home, target), progress=kill)
                os._exit(0)
            except BaseException:
                os._exit(1)
        return os.waitpid(child, 0)[1]

    while (status := once()) != 0:
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        kills += 1
        assert kills < 20
        for name in (ROWS, VERDICTS):  # what a kill within a write leaves
            if (target / name).exists():
                with (target / name).open("ab") as file:
                    file.write(b'{"kind": "answer", "key": "torn')
    assert kills >= 5
    assert read_result(target) == read_result(evaluated)
    for name in (ROWS, VERDICTS):
        assert sorted(keys(target / name)) == sorted(keys(evaluated / name)) and len(set(keys(target / name))) == len(
            keys(target / name)
        )


def test_what_changed_is_made_again_and_nothing_else(tuned_home: Path, evaluated: Path, tmp_path: Path) -> None:
    target = tmp_path / "e"
    shutil.copytree(evaluated, target)
    more = evaluate(config_of(tuned_home, target, temperatures=(0.7, 0.0), samples=2))
    # A second sample at 0.7 and one greedy answer, of both policies; the held-out pairs are the same.
    assert (more.generated, more.scored) == (2 * 2 * PROMPTS, 0)
    assert {row["temperature"] for row in more.result["comparisons"]} == {0.0, 0.7}
    back = evaluate(config_of(tuned_home, target))
    assert (back.generated, back.scored, back.judged) == (0, 0, 0) and back.result == read_result(evaluated)
    copy = tmp_path / "base"
    save_tiny("gpt2", copy, seed=3)
    assert make_plan(config_of(tuned_home, target, against=str(copy))).missing(RowStore(target)) == PROMPTS


def test_what_one_run_held_out_of_few_prompts_another_may_have_seen(tuned_home: Path, tmp_path: Path) -> None:
    """Of data whose every hash says training, the first prompt is held out all the same: good for that run alone."""
    asked = [f"Few {number}?" for number in range(20) if not is_held_out(f"Few {number}?", 0.3)][:5]
    few = tmp_path / "few.jsonl"
    rows = [{"prompt": prompt, "chosen": "Yes!", "rejected": "No."} for prompt in asked]
    few.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = tmp_path / "run"
    shutil.copytree(tuned_home / "run", run)
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(info | {"config": info["config"] | {"dataset": str(few)}}))
    given = config_of(tuned_home, tmp_path / "e", judges=())
    [prompt] = make_plan(replace(given, policies=[str(run)])).prompts
    assert prompt["prompt"] in asked
    with pytest.raises(DataError, match="none of its prompts is held out"):
        make_plan(replace(given, policies=[str(run), str(tuned_home / "run")]))


def test_two_equal_policies_tie(tuned_home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tuned_home / "base", copy)
    given = config_of(tuned_home, tmp_path / "e", against=str(tuned_home / "base"), judges=())
    made = evaluate(replace(given, policies=[str(copy)], dataset=str(tuned_home / "pairs.jsonl"), eval_fraction=0.3))
    assert made.generated == PROMPTS  # equal weights answer once
    assert {row["win_rate"]["value"] for row in made.result["comparisons"]} == {0.5}
    assert {row["verdict"] for row in made.result["comparisons"]} <= {"cannot tell at this size", "equivalent"}


def test_conversations_several_samples_and_temperatures_in_the_other_family(tmp_path: Path) -> None:
    """T5, prompts of several turns, greedy beside sampled; policies that no run tells anything of."""
    for seed, name in enumerate(("one", "two")):
        save_tiny("t5", tmp_path / name, seed)
    rows = []
    for number in range(12):
        asked = [("user", f"Hello {number}"), ("assistant", "Hi!"), ("user", "Do you have a go-to karaoke jam?")]
        turns = [{"role": role, "content": text} for role, text in asked]
        rows.append(
            {side: [*turns, {"role": "assistant", "content": f"{side} {number}"}] for side in ("chosen", "rejected")}
        )
    pairs = tmp_path / "talks.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = evaluate(
        EvaluationConfig(
            [str(tmp_path / "one"), str(tmp_path / "two")], dataset=str(pairs), eval_fraction=0.5, samples=2,
            temperatures=(0.0, 1.0), max_new_tokens=5, device="cpu", output_dir=str(tmp_path / "e"),
        )
    )  # fmt: skip
    prompts = RowStore(tmp_path / "e").prompts.values()
    assert made.result["complete"] and all(len(prompt["messages"]) == 3 for prompt in prompts)
    assert made.generated == 2 * 3 * len(prompts) and 1 < len(prompts) < 12
    assert [row["against"] for row in made.result["comparisons"]] == [str(tmp_path / "one")] * 4
    assert made.scored == 0 and made.result["held_out"] == []


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"prompts": 0}, ConfigError, "prompts is 0"),
        ({"temperatures": (0.7, 0.7)}, ConfigError, "named twice"),
        ({"temperatures": (9.0,)}, ConfigError, "temperature"),
        ({"judges": ["oracle"]}, ConfigError, "No judge is called 'oracle'"),
        ({"judges": ["reward:BASE"]}, PolicyError, "no recorded reference"),
        ({"against": "RUN"}, ConfigError, "--against"),
        ({"eval_fraction": 0.5}, ConfigError, "held out 0.3 of the prompts, .*: give 0.3 at most, or leave it out"),
        ({"eval_fraction": 1.5}, ConfigError, "eval_fraction is 1.5"),
        ({"dataset": "missing.jsonl"}, DataError, "no file"),
        ({"policies": ["BASE"]}, ConfigError, "--against"),
        ({"policies": ["./nothing"]}, PolicyError, "No policy"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_anything_is_loaded(
    tuned_home: Path, tmp_path: Path, settings: dict[str, Any], error: type[Exception], match: str
) -> None:
    names = {"RUN": str(tuned_home / "run"), "BASE": str(tuned_home / "base")}

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(one) for one in value]
        if isinstance(value, str):
            for short, name in names.items():
                value = value.replace(short, name)
        return value

    with pytest.raises(error, match=match) as caught:
        make_plan(
            replace(config_of(tuned_home, tmp_path / "e"), **{key: named(value) for key, value in settings.items()})
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "e").exists()


def test_the_command_says_what_it_can_show_prints_the_verdicts_and_exits_by_its_sentence(
    tuned_home: Path,
    evaluated: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    target, run = tmp_path / "e", str(tuned_home / "run")
    shutil.copytree(evaluated, target)
    line = ["eval", run, "--judge", f"reward:{run}", "--prompts", str(PROMPTS), "--max-new-tokens", "6"]
    line += ["--output-dir", str(target), "--device", "cpu"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "This size can show a win rate that is 70.0 points or more from 50 %" in out
    assert "0 answers generated, 0 verdicts asked for: all of it was in" in out
    assert "related judge" in out and "agreement with the training preference" in out and "are longer than" in out
    assert main([*line, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made == read_result(target)
    [row] = [row for row in made["comparisons"] if row["judge"] == f"reward:{run}"]
    shown = 100 * row["win_rate"]["value"]
    for least, code, word in ((shown, 0, "passed"), (min(shown + 0.1, 100), int(shown < 100), "failed")):
        assert main([*line, "--fail-under", f"{least:g}"]) == code
        assert f"--fail-under {least:g}: {word if code or word == 'passed' else 'passed'}" in capsys.readouterr().out
    for wrong, says in (
        (["--fail-under", "55"], "--fail-under needs a --judge"),
        (["--temperatures", "warm"], "temperature is 'warm'"),
        (["--judge", "oracle"], "No judge is called"),
        (["--prompts", "0"], "prompts is 0"),
    ):
        assert main(["eval", run, *wrong]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    tuned_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, run = tmp_path / "e", str(tuned_home / "run")
    line = ["eval", run, "--prompts", str(PROMPTS), "--max-new-tokens", "6", "--batch-size", "3", "--device", "cpu"]
    line += ["--output-dir", str(target)]
    add = RowStore.add

    def interrupted(self: RowStore, *rows: Any) -> None:
        add(self, *rows)
        if len(self.answers) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "add", interrupted)
        assert main(line) == 130
    assert "run the same command to go on" in capsys.readouterr().err
    assert len(RowStore(target).answers) == 3
    assert main(line) == 0
    assert f"{2 * PROMPTS - 3} answers generated" in capsys.readouterr().out


def test_two_processes_do_not_write_into_one_evaluation(tuned_home: Path, evaluated: Path) -> None:
    store = RowStore(evaluated)
    with store.writing(), pytest.raises(BusyError, match="Another evaluation"):
        evaluate(config_of(tuned_home, evaluated))


def test_commands_and_snippet_of_the_documentation(
    tuned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As written, with few and short answers; `runs/first` is a tiny run."""
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(bash|python)\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.copytree(tuned_home / "run", tmp_path / "runs" / "first")
    lines = [line for kind, block in blocks if kind == "bash" for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        code = main(
            [*shlex.split(line)[1:], "--prompts", "2", "--max-new-tokens", "4", "--kl-prompts", "1", "--device", "cpu"]
        )
        assert code == 0 or ("--fail-under" in line and code == 1), line
    assert (tmp_path / "runs" / "first" / "evaluations" / "pairs" / "eval.json").is_file()
    capsys.readouterr()
    [snippet] = [block for kind, block in blocks if kind == "python"]
    exec(compile(snippet, "docs/evaluation.md", "exec"), {})
    assert "demo/gpt2-dpo" in capsys.readouterr().out


def test_exports_from_the_command_line_and_their_verdicts_come_back(
    tuned_home: Path, evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exported battles, read as an outside judge, give the win rate of the judge that they came from."""
    target, run = tmp_path / "e", str(tuned_home / "run")
    shutil.copytree(evaluated, target)
    shared = f"eval {run} --prompts {PROMPTS} --max-new-tokens 6 --batch-size 3 --device cpu --output-dir {target}"
    shared += f" --votes {target}/votes.sqlite --judge reward:{run}"
    assert main(shlex.split(f"{shared} --export xml")) == 2
    assert "No format is called 'xml'" in capsys.readouterr().err
    assert main(shlex.split(f"{shared} --export battles --export lm-eval --export html")) == 0
    out = capsys.readouterr().out
    assert "0 answers generated" in out and f"Exported {target}/exports/html/report.html" in out
    [samples] = (target / "exports" / "lm-eval").rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    made = read_result(target)
    assert sum(row["acc"] for row in rows) / len(rows) == pytest.approx(made["held_out"][0]["accuracy"]["value"])
    assert all(len(row["doc_hash"]) == len(row["prompt_hash"]) == 64 and row["target"] == "0" for row in rows)
    battles = target / "exports" / "battles" / "battles.jsonl"
    every = map(json.loads, battles.read_text(encoding="utf-8").splitlines())
    only = [row for row in every if row["judge"] == f"reward:{run}"]
    given = tmp_path / "given.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in only), encoding="utf-8")
    again = evaluate(config_of(tuned_home, target, judges=(f"reward:{run}", f"battles:{given}")))
    assert (again.generated, again.judged) == (0, len(only))
    by_judge = {row["judge"]: row for row in again.result["comparisons"]}
    assert by_judge[f"battles:{given}"]["win_rate"] == by_judge[f"reward:{run}"]["win_rate"]
    assert by_judge[f"battles:{given}"]["says"] == f"the verdicts in {given}"
    given.write_text(json.dumps(only[0] | {"model_a": "another"}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"its models are \S+base, another"):
        evaluate(config_of(tuned_home, target, judges=(f"battles:{given}",)))
    with pytest.raises(ConfigError, match="cannot be read"):
        make_plan(config_of(tuned_home, target, judges=("battles:missing.jsonl",)))


def test_until_clear_goes_on_in_rounds_and_stops_at_once_when_resumed(
    tuned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds of two prompts and more: equal policies are never clear, and nothing is made again."""
    import dpo.evaluation.comparison.plan as plans

    monkeypatch.setattr(plans, "_FIRST_LOOK", 2)
    copy = tmp_path / "copy"
    shutil.copytree(tuned_home / "base", copy)
    given = replace(
        config_of(tuned_home, tmp_path / "e", against=str(tuned_home / "base"), judges=("longer",), until_clear=True),
        policies=[str(copy)], dataset=str(tuned_home / "pairs.jsonl"), eval_fraction=0.3,
    )  # fmt: skip
    made = evaluate(given)
    assert made.result["prompts"] == PROMPTS and made.generated == PROMPTS  # to the end
    before = (tmp_path / "e" / ROWS).read_bytes()
    assert evaluate(given).generated == 0 and (tmp_path / "e" / ROWS).read_bytes() == before
    # One sided: clear after the first round that can show it, and then at once.
    monkeypatch.setattr(plans, "MARGIN", 0.5)
    sure = evaluate(replace(given, output_dir=str(tmp_path / "sure")))
    assert sure.result["prompts"] == 2 and sure.generated == 2 and sure.result["complete"]
    assert evaluate(replace(given, output_dir=str(tmp_path / "sure"))).generated == 0
    with pytest.raises(ConfigError, match="until_clear needs a judge"):
        make_plan(replace(given, judges=()))
