"""Settings: one definition, refused in one line when wrong."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from dpo.cli.arguments import settings
from dpo.cli.main import main, parser
from dpo.errors import ConfigError
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.settings import make, read_yaml


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--beta", "-1"], "--beta is -1.0: it must be above 0"),
        (["--beta", "abc"], "beta is 'abc': it must be a number"),
        (["--max-steps", "1.5"], "max_steps is '1.5': it must be a whole number"),
        (["--loss-type", "sigmod"], "did you mean sigmoid?"),
        (["--bta", "1"], "unknown flag --bta (did you mean --beta?)"),
        (["--label-smoothing", "0.1"], "does nothing with --loss-type sigmoid"),
        (["--loss-type", "sigmoid", "sft", "--loss-weights", "1"], "has 1 values for 2 losses"),
        (["--lora-targets", "q"], "needs --lora"),
        (["--eval-fraction", "0.9"], "must be at most 0.5"),
        (["--precision", "int8"], "choose from auto, fp32, bf16, fp16"),
        (["--resume"], "--resume needs the run's directory"),
        (["--config", "/nowhere/x.yaml"], "cannot be read"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("dpo: ")
    assert says in err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sft --lora", "dpo sft has no --lora, dpo train has; see dpo sft --help"),
        ("runs list --jsn", "unknown flag --jsn (did you mean --json?); see dpo runs list --help"),
        ("train more", "'more' is one word too many; see dpo train --help"),
    ],
)
def test_a_word_that_a_command_does_not_know(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert capsys.readouterr() == ("", f"dpo: {says}\n")


def test_every_setting_is_a_flag_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command, config in (("train", TrainConfig), ("sft", SftConfig)):
        with pytest.raises(SystemExit) as stop:
            parser().parse_args([command, "--help"])
        assert stop.value.code == 0
        shown = capsys.readouterr().out
        for spec in dataclasses.fields(config):
            assert "--" + spec.name.replace("_", "-") in shown
            assert spec.metadata["help"].split()[0] in shown


def test_flags_win_over_yaml(tmp_path: Path) -> None:
    from dpo.cli.arguments import settings

    path = tmp_path / "run.yaml"
    path.write_text("beta: 0.3\nlearning-rate: 1e-5\nlora: true\nloss_type: [sigmoid, sft]\n")
    arguments = parser().parse_args(["train", "--config", str(path), "--beta", "0.2"])
    config = settings(arguments, TrainConfig)
    assert (config.beta, config.learning_rate, config.lora) == (0.2, 1e-5, True)
    assert config.loss_type == ["sigmoid", "sft"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("bta: 1", "did you mean beta?"), ("- 1", "it is list"), ("beta: [", "is not valid YAML"), ("seed: yes", "seed")],
)
def test_yaml_mistakes_name_the_file(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        read_yaml(path, TrainConfig)
    assert str(path) in str(caught.value) or "--config" in str(caught.value)


def test_defaults_are_valid() -> None:
    assert make(TrainConfig, {}).beta == 0.1
    assert make(SftConfig, {}).learn == "chosen"


@pytest.mark.parametrize(("command", "config"), [("train", TrainConfig), ("sft", SftConfig)])
def test_help_names_every_setting_once(command: str, config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    options = shown[shown.index("\noptions:") if "\noptions:" in shown else 0 :]
    for spec in dataclasses.fields(config):
        flag = "--" + spec.name.replace("_", "-")
        assert len(re.findall(rf"^\s+{flag}(?=[ ,\n])", options, flags=re.M)) == 1, flag


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--f-divergence-type", "js_divergence", "--loss-type", "apo_zero"],
            "no meaning for --loss-type apo_zero",
        ),
        (["--f-alpha-divergence-coef", "0.2"], "needs --f-divergence-type alpha_divergence"),
        (["--discopop-tau", "0.2"], "use --loss-type discopop"),
        (["--use-weighting", "--loss-type", "aot"], "aot sorts apart"),
        (["--loss-type", "aot", "--batch-size", "1"], "--batch-size to 2"),
        (["--loss-type", "sft", "--ld-alpha", "0.5"], "has no reference and no margin"),
        (["--ref-model-sync-steps", "8"], "needs --sync-ref-model"),
        (["--sync-ref-model", "--lora"], "leave out --lora"),
        (["--dora"], "--dora needs --lora"),
        (["--quantization", "4bit"], "add --lora"),
        (["--early-stopping", "3"], "add --keep-best"),
        (["--keep-best", "margin", "--eval-fraction", "0"], "need held-out pairs"),
        (["--kl-budget", "3", "--kl-prompts", "0"], "measured on held-out prompts"),
        (["--report-to", "wandbb"], "did you mean wandb?"),
        (["--report-to", "mlflow"], "pip install 'dpo-workbench[mlflow]'"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert says in err


def test_datasets_add_up_to_a_mix() -> None:
    arguments = ["train", "--dataset", "sample=2", "--dataset", "orca=1", "--swap", "--layout", "transcripts"]
    config = settings(parser().parse_args(arguments), TrainConfig)
    assert (config.dataset, config.swap, config.layout) == ("sample=2,orca=1", True, "transcripts")
    assert settings(parser().parse_args(["train", "--dataset", "a,b.jsonl"]), TrainConfig).dataset == "a,b.jsonl"
