"""What we rely on in TRL, transformers, PEFT, datasets and Dash beyond what they promise, a line each.

`make compat` runs this with the lowest and the highest versions that pyproject.toml allows; what a new release moved is
named here before a training or a page fails by it.  The lines are explained in `tests/helpers/library_contract.py`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from library_contract import moved, words_of
from peft import PeftModelForSeq2SeqLM
from transformers import T5ForConditionalGeneration

from dpo.dashboard.application import create_app
from dpo.dashboard.web.rights import CALLBACK, ROUTES
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.sft import sft_arguments
from dpo.training.trainer_arguments import trl_arguments

TRL = """
    trl.DPOTrainer(model, ref_model, args, data_collator, train_dataset, eval_dataset, processing_class, peft_config)
    trl.DPOTrainer._compute_loss(model, inputs, return_outputs)
    trl.DPOTrainer.compute_ref_log_probs(model, inputs)
    trl.DPOTrainer._prepare_dataset
    trl.DPOTrainer.create_model_card
    trl.DPOTrainer.log(logs, start_time)
    # Attributes that we read and set.
    trl.DPOTrainer ~ _metrics _total_train_tokens precompute_ref_logps ld_alpha beta ref_model
    # What it reads of a batch, asks of the model's patched forward, and reads of its answer.
    trl.DPOTrainer ~ ref_chosen_logps ref_rejected_logps completion_mask input_ids fused_lm_head log_probs
    trl.DPOTrainer ~ entropy mean_logits is_top1 log_sum_sq_probs
    # Measures under these names.
    trl.DPOTrainer ~ rewards/chosen rewards/rejected rewards/margins rewards/accuracies num_tokens
    trl.trainer.utils.use_adapter(model, adapter_name)
"""

TRANSFORMERS = """
    transformers.Trainer.training_step(model, inputs, num_items_in_batch)
    transformers.Trainer.compute_loss(model, inputs, return_outputs, num_items_in_batch)
    transformers.Trainer.prediction_step(model, inputs, prediction_loss_only, ignore_keys)
    transformers.Trainer.get_batch_samples(epoch_iterator, num_batches, device)
    transformers.Trainer.create_optimizer(model)
    transformers.Trainer.evaluation_loop
    transformers.Trainer.compute_loss_context_manager
    transformers.Trainer._prepare_inputs(inputs)
    transformers.Trainer._clip_grad_norm(model)
    transformers.Trainer._get_train_sampler(train_dataset)
    transformers.Trainer._get_output_dir(trial)
    transformers.Trainer._run_epoch(resume_from_checkpoint)
    transformers.Trainer._save_checkpoint(model, trial)
    transformers.Trainer._save(output_dir, state_dict)
    transformers.Trainer ~ _tr_loss _globalstep_last_logged model_accepts_loss_kwargs should_training_stop
    transformers.Trainer ~ is_fsdp_enabled is_deepspeed_enabled callback_handler processing_class training_step
    # Hooks of our callbacks, and what they set.
    transformers.TrainerCallback.on_train_begin(args, state, control)
    transformers.TrainerCallback.on_train_end(args, state, control)
    transformers.TrainerCallback.on_step_begin(args, state, control)
    transformers.TrainerCallback.on_step_end(args, state, control)
    transformers.TrainerCallback.on_prediction_step(args, state, control)
    transformers.TrainerCallback.on_evaluate(args, state, control)
    transformers.TrainerCallback.on_save(args, state, control)
    transformers.TrainerCallback.on_log(args, state, control)
    transformers.trainer_callback.CallbackHandler.on_evaluate(args, state, control, metrics)
    transformers.TrainerControl(should_training_stop, should_save, should_log, should_evaluate)
    transformers.TrainerState(global_step, max_steps, epoch, log_history, stateful_callbacks, is_world_process_zero)
    transformers.TrainerState.load_from_json(json_path)
    transformers.trainer_callback.ExportableState.state
    transformers.trainer_callback.PrinterCallback
    transformers.trainer_pt_utils.nested_gather(tensors, parallel_mode)
    transformers.trainer_pt_utils.safe_globals
    transformers.integrations.get_reporting_integration_callbacks(report_to)
    transformers.integrations.TensorBoardCallback(tb_writer)
    transformers.integrations.TensorBoardCallback.on_train_end
    transformers.integrations.TensorBoardCallback ~ close
    # Files of a checkpoint.
    transformers.trainer.TRAINER_STATE_NAME == 'trainer_state.json'
    transformers.trainer.OPTIMIZER_NAME == 'optimizer.pt'
    transformers.trainer.SCHEDULER_NAME == 'scheduler.pt'
    transformers.trainer.TRAINING_ARGS_NAME == 'training_args.bin'
    transformers.trainer_utils.PREFIX_CHECKPOINT_DIR == 'checkpoint'
    transformers.Trainer ~ rng_state.pth
    transformers.utils.SAFE_WEIGHTS_NAME == 'model.safetensors'
    transformers.utils.SAFE_WEIGHTS_INDEX_NAME == 'model.safetensors.index.json'
    transformers.utils.CONFIG_NAME == 'config.json'
    # Models, caches and tokenizers.
    transformers.EncoderDecoderCache(caches)
    transformers.DynamicCache
    transformers.pytorch_utils.Conv1D
    transformers.activations.ACT2FN
    transformers.convert_slow_tokenizer.bytes_to_unicode
    transformers.PreTrainedModel ~ _attn_implementation
    transformers.utils.is_torch_bf16_gpu_available
    accelerate.utils.broadcast_object_list(object_list)
    accelerate.utils.parse_flag_from_env(key)
"""

PEFT = """
    peft.LoraConfig(r, lora_alpha, lora_dropout, use_dora, fan_in_fan_out, target_modules, trainable_token_indices)
    peft.PeftModel.from_pretrained(model, model_id, is_trainable)
    peft.PeftModel.get_base_model
    peft.PeftModel.disable_adapter
    peft.PeftModel ~ peft_config base_model_name_or_path
    peft.get_peft_model_state_dict(model, save_embedding_layers)
    peft.PeftModel.save_pretrained(save_directory, save_embedding_layers)
    peft.inject_adapter_in_model(peft_config, model)
    peft.tuners.lora.LoraLayer ~ lora_A lora_B lora_dropout scaling
    # Rows of new tokens: what stands beside the head, and how it is read.
    peft.utils.other.TrainableTokensWrapper ~ token_adapter
    peft.tuners.trainable_tokens.layer.TrainableTokensLayer.get_merged_weights(active_adapters)
    peft.tuners.trainable_tokens.layer.TrainableTokensLayer ~ disable_adapters active_adapters
    peft.utils.SAFETENSORS_WEIGHTS_NAME == 'adapter_model.safetensors'
    peft.utils.CONFIG_NAME == 'adapter_config.json'
"""

DATASETS = """
    datasets.arrow_writer.ArrowWriter(path, features)
    datasets.arrow_writer.ArrowWriter.write_batch(batch_examples)
    datasets.arrow_writer.ArrowWriter.finalize
    datasets.Dataset.from_file(filename)
    datasets.concatenate_datasets(dsets)
    datasets.load_dataset(path, name, split)
    datasets.List(feature)
    datasets.Value(dtype)
    datasets.exceptions.DatasetNotFoundError
"""

DASH = """
    dash.Dash(title, update_title, assets_folder, assets_path_ignore, serve_locally, suppress_callback_exceptions)
    dash.Dash.interpolate_index(metas, scripts, favicon)
    dash.Dash.serve_layout
    dash.Dash.csp_hashes
    dash.Dash.get_asset_url(path)
    dash.Dash.callback
    dash.Dash ~ callback_map renderer layout
    dash.dash._default_index
    dash.exceptions.InvalidCallbackReturnValue
    dash.exceptions.DependencyException
    dash_ag_grid.AgGrid(rowData, columnDefs, getRowId, defaultColDef, dashGridOptions, virtualRowData, selectedRows)
    dash_ag_grid.AgGrid(cellValueChanged)
    dash_mantine_components.MultiSelect(data, value, searchable, clearable, persistence, persistence_type)
"""
LIBRARIES = {"trl": TRL, "transformers": TRANSFORMERS, "peft": PEFT, "datasets": DATASETS, "dash": DASH}


@pytest.mark.parametrize("lines", LIBRARIES.values(), ids=LIBRARIES)
def test_nothing_we_rely_on_has_moved(lines: str) -> None:
    assert not moved(lines), "\n".join(moved(lines))


def test_a_line_that_does_not_hold_says_why() -> None:
    found = moved(
        """
        json.loads(s)
        json.loads(s, encoding)
        json.dump_all
        nothing.there
        json.JSONEncoder ~ item_separator item_divider
        json.decoder.NaN == 1.0
        """
    )
    assert [line.split(": ", 1)[1] for line in found] == [
        "takes no encoding", "gone (module 'json' has no attribute 'dump_all')", "gone (No module named 'nothing')",
        "its code has no item_divider", "is nan",
    ]  # fmt: skip


def test_peft_asks_encoder_decoders_for_nothing_that_they_lack() -> None:
    # PEFT before 0.21.2 did, and no T5 could have an adapter.
    asked = {name for name in words_of(PeftModelForSeq2SeqLM.__init__) if name.startswith("_prepare")}
    assert [name for name in asked if not hasattr(T5ForConditionalGeneration, name)] == []


def test_the_trainers_arguments_have_all_our_settings(tmp_path: Path) -> None:
    preference = trl_arguments(TrainConfig(learning_rate=1e-5), str(tmp_path), "fp32", True, False)
    assert preference.activation_checkpointing is False and preference.max_length is None
    assert sft_arguments(SftConfig(learning_rate=1e-5), str(tmp_path), "fp32", True, False).eval_on_start


def test_dash_answers_under_the_addresses_that_have_a_right(tmp_path: Path) -> None:
    app = create_app([tmp_path], votes=tmp_path / "votes.sqlite")
    known = {(method, rule.rule) for rule in app.server.url_map.iter_rules() for method in rule.methods or ()}
    own = {rule for rule in ROUTES if rule[1].startswith(("/_", "/assets"))}
    assert ("POST", CALLBACK) in own and not own - known


def test_dashs_scripts_ask_for_what_we_put_there() -> None:
    bundles = [path.read_text("utf-8", "ignore") for path in Path(str(files("dash"))).rglob("*.js")]
    for name in ("_dashPlotlyJSURL", "dash_clientside", "DashRenderer"):  # set by our document and modules
        assert any(name in text for text in bundles), name
    assert list(Path(str(files("dash_ag_grid"))).glob("dash_ag_grid*.js"))
