"""A policy as its config describes it: what is trained, what the reference is, where the values come from."""

import copy

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from appliance.config import PpoConfig
from appliance.errors import ModelError
from appliance.models.adapters import as_reference, continued, with_adapters
from appliance.models.critic import SeparateCritic, ValueHead
from appliance.models.loading import Loaded, load_classifier, load_policy_model
from appliance.models.policy import Policy
from appliance.models.precision import Precision
from appliance.models.quantized import NO_QUANTIZE
from appliance.models.start import adapter_folder, frozen_dtype
from appliance.models.top_layers import TopLayers
from appliance.rewards.trained import scale_of


def build_policy(config: PpoConfig, precision: Precision) -> tuple[Policy, Loaded]:
    """The policy with its reference and critic on the device, and what it was loaded from. Raises ModelError."""
    source = config.policy
    on_gpu = precision.device.type == "cuda"
    if source.quantize != "none" and not on_gpu:
        raise ModelError(f"policy.quantize is {source.quantize}, but the run is on the CPU", NO_QUANTIZE)
    if source.quantize != "none" and precision.compute != "bf16":
        raise ModelError(
            f"policy.quantize is {source.quantize}, which computes in bf16, but compute is {precision.compute}",
            "set compute: bf16, on a GPU that has it, or policy.quantize: none",
        )
    loaded = load_policy_model(
        source.model,
        source.revision,
        dtype=frozen_dtype(source, precision),
        quantize=source.quantize,
    )
    lm = loaded.model if source.quantize != "none" else loaded.model.to(precision.device)
    torch.manual_seed(config.seed)  # new adapter weights
    critic = _critic(config, lm, loaded.tokenizer).to(precision.device)
    if source.adapter is not None:
        adapted = continued(lm, adapter_folder(source.adapter))
        return Policy(lm, critic, precision, switch=lambda: as_reference(adapted), adapter=adapted), loaded
    if source.train == "lora":
        adapted = with_adapters(lm, source.lora)
        return Policy(lm, critic, precision, switch=adapted.disable_adapter, adapter=adapted), loaded
    if source.train == "top_layers":
        top = TopLayers(lm, source.top_layers)
        return Policy(lm, critic, precision, switch=top.as_reference, top=top), loaded
    lm.requires_grad_(True)
    reference = copy.deepcopy(lm).requires_grad_(False)
    return Policy(lm, critic, precision, reference=reference), loaded


def frozen_policy(lm: PreTrainedModel, precision: Precision, *, reference: PreTrainedModel | None = None) -> Policy:
    """A policy that only writes and is read: nothing is trained, its values mean nothing; without `reference` its own."""
    lm = lm.to(precision.device).requires_grad_(False)
    head = ValueHead(lm.config.get_text_config().hidden_size).to(precision.device)
    return Policy(lm, head, precision, reference=reference)


def _critic(config: PpoConfig, lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> ValueHead | SeparateCritic:
    if config.critic.kind == "value_head":
        return ValueHead(lm.config.get_text_config().hidden_size)
    assert config.critic.model is not None  # the config sees to it
    loaded = load_classifier(config.critic.model)
    if loaded.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ModelError(
            f"critic.model {config.critic.model} has another tokenizer than the policy, so it cannot value its tokens",
            "train a reward model from the policy's own model, or use kind: value_head",
        )
    score = loaded.model.get_submodule("score") if "score" in dict(loaded.model.named_children()) else None
    if not isinstance(score, torch.nn.Linear) or score.out_features != 1:
        raise ModelError(
            f"critic.model {config.critic.model} ({type(loaded.model).__name__}) does not score the last token with one number",
            "give a decoder trained by `appliance train reward`, or use kind: value_head",
        )
    mean, std = scale_of(loaded.folder)  # its scores reach PPO normalized: values begin in the same unit
    critic = SeparateCritic(loaded.model.base_model.requires_grad_(True), score.weight[0].detach() / std)
    torch.nn.init.constant_(critic.head.bias, -mean / std)
    return critic
