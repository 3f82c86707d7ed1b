"""How a checkpoint is used in plain transformers: code to copy, which the tests run as it stands (no torch here)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_QUESTION = "Do you like tea?"


def transformers_code(directory: Path, name: str) -> str:
    """Python that loads the checkpoint called `name` and prints its likeliest answer to a question.

    Args:
        directory: where the checkpoint's files are now; its `config.json` and tokenizer decide what is needed.
        name: what the code shall load: a hub id or a directory.
    """
    config: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    seq2seq = bool(config.get("is_encoder_decoder"))
    auto = "AutoModelForSeq2SeqLM" if seq2seq else "AutoModelForCausalLM"
    cache = seq2seq and _deeper_decoder(config)
    imports = [auto, "AutoTokenizer", *(["DynamicCache", "EncoderDecoderCache"] if cache else [])]
    lines = [
        f"from transformers import {', '.join(imports)}",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({json.dumps(name, ensure_ascii=False)})",
        f"model = {auto}.from_pretrained({json.dumps(name, ensure_ascii=False)})",
        *_encoded(directory, seq2seq),
    ]
    options = "**inputs, max_new_tokens=64, do_sample=False"
    if cache:
        lines += [
            "# The decoder has more layers than the encoder, by which generate() would size its cache.",
            "cache = EncoderDecoderCache(DynamicCache(), DynamicCache())",
        ]
        options += ", past_key_values=cache"
    answer = "output[0]" if seq2seq else 'output[0, inputs["input_ids"].shape[1] :]'
    lines += [f"output = model.generate({options})", f"print(tokenizer.decode({answer}, skip_special_tokens=True))"]
    return "\n".join(lines)


def _deeper_decoder(config: dict[str, Any]) -> bool:
    """Whether the decoder has more layers than `num_hidden_layers`, which is the encoder's in T5's config."""
    decoder = config.get("num_decoder_layers", config.get("decoder_layers"))
    encoder = config.get("num_layers", config.get("encoder_layers"))
    return isinstance(decoder, int) and isinstance(encoder, int) and decoder > encoder


def _encoded(directory: Path, seq2seq: bool) -> list[str]:
    """The lines that turn the question into `inputs`, as `Family.encode_prompts` does."""
    settings = _read(directory / "tokenizer_config.json")
    if settings.get("chat_template") or (directory / "chat_template.jinja").is_file():
        return [
            f'question = [{{"role": "user", "content": "{_QUESTION}"}}]',
            "inputs = tokenizer.apply_chat_template(",
            '    question, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
        ]
    if seq2seq:
        return [f'inputs = tokenizer("{_QUESTION}", return_tensors="pt", return_token_type_ids=False)']
    # An answer begins on a new line.
    return [
        f'inputs = tokenizer("{_QUESTION}\\n", add_special_tokens=False, return_tensors="pt", '
        "return_token_type_ids=False)"
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
