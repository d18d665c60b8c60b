"""The result of PPO as plain Hugging Face folders: the merged model with its tokenizer, and the adapter if there is one."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from appliance.models.adapters import TRAINED
from appliance.models.critic import ValueHead
from appliance.models.loading import Loaded, load_policy_model, merged, original_activation, resolve
from appliance.ppo import checkpoint
from appliance.ppo.memory import Notice
from appliance.ppo.state import State
from appliance.ppo.update import Learner
from appliance.store.files import write_folder
from appliance.store.rundir import RunDir


def use_result(learner: Learner, state: State, run: RunDir, notice: Notice) -> None:
    """Put the weights that checkpoint.result asks for into the policy: the last ones are there; the best come from disk."""
    if learner.config.checkpoint.result == "last" or state.best is None:
        return
    step = int(state.best["step"])
    if step != state.step:
        checkpoint.load_weights(checkpoint.folder_of(run.checkpoints, step), learner)
    notice(f"the result is the policy after step {step}, the best by held-out score minus KL")


def export(learner: Learner, loaded: Loaded, run: RunDir) -> None:
    """Write model/ (and adapter/ for LoRA), each whole or not at all, and value_head.safetensors beside the model's files.

    LoRA is merged into a base that is read anew from its folder, so that nothing in memory is changed, and into one in
    bf16 where training had it in fewer bits.
    """
    policy, folder = learner.policy, loaded.folder
    lm: PreTrainedModel = policy.model.lm
    if policy.adapter is not None:
        adapter, source = policy.adapter, learner.config.policy
        dtype = torch.float32 if source.quantize == "none" else torch.bfloat16
        start = load_policy_model(source.model, source.revision, dtype=dtype).model
        if (resolve(source.model, source.revision) / "adapter_config.json").exists():
            # What the new adapter stands on is the merged start, which no folder held so far.
            write_folder(run.path / "start", lambda place: save_model(start, loaded.tokenizer, place, source=folder))
            adapter.peft_config[TRAINED].base_model_name_or_path = str((run.path / "start").resolve())
        elif source.adapter is not None:  # it may have been trained where its base had another path
            adapter.peft_config[TRAINED].base_model_name_or_path = str(folder)
        write_folder(
            run.path / "adapter", lambda place: adapter.save_pretrained(str(place), selected_adapters=[TRAINED])
        )
        lm = merged(start, run.path / "adapter")

    def fill(place: Path) -> None:
        save_model(lm, loaded.tokenizer, place, source=folder)
        if isinstance(policy.critic, ValueHead):
            head = {name: p.detach().cpu().contiguous() for name, p in policy.critic.named_parameters()}
            save_file(head, place / "value_head.safetensors")

    write_folder(run.model, fill)


def save_model(
    lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, place: Path, *, source: Path | None = None
) -> None:
    """Model and tokenizer in the folder `place`, safetensors only; activation names as `source` has them."""
    names = original_activation(source) if source is not None else {}
    ours = {key: getattr(lm.config, key) for key in names}
    for key, name in names.items():
        setattr(lm.config, key, name)
    try:
        lm.save_pretrained(place)
    finally:
        for key, name in ours.items():
            setattr(lm.config, key, name)
    tokenizer.save_pretrained(place)
