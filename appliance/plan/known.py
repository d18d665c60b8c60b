"""Sizes of the models that the recipes name, so that a plan can be made before they are on the disk."""

from dataclasses import replace

from appliance.plan.shapes import Shape

_GPT2 = Shape("gpt2", 12, 768, 12, 12, 64, 3072, 50257, positions=1024, limit_tokens=1024, dropout=True)
_BARE = Shape("llama", 32, 4096, 32, 32, 128, 11008, 32000, gated=True, tied=False, qkv_bias=False, bias=False)
_LLAMA_7B = replace(_BARE, limit_tokens=4096)
_LLAMA_2B = replace(_LLAMA_7B, layers=24, hidden=2048, heads=16, kv_heads=16, ffn=5440, vocab=256000)
_QWEN_7B = replace(
    _BARE,
    family="qwen2",
    layers=28,
    hidden=3584,
    heads=28,
    kv_heads=4,
    ffn=18944,
    vocab=152064,
    limit_tokens=32768,
    qkv_bias=True,
)
_OPT = Shape("opt", 24, 2048, 32, 32, 64, 8192, 50272, positions=2050, limit_tokens=2048, relu=True, dropout=True)
_PYTHIA = Shape("gpt_neox", 32, 2560, 32, 32, 80, 10240, 50304, limit_tokens=2048, tied=False)
_T5 = Shape("t5", 12, 768, 12, 12, 64, 2048, 32128, gated=True, tied=False, qkv_bias=False, bias=False, dropout=True)
_FLAN_T5 = replace(_T5, decoder_layers=12, buckets=32)
_DISTILBERT = Shape("distilbert", 6, 768, 12, 12, 64, 3072, 30522, positions=512, limit_tokens=512, dropout=True)
_ROBERTA = Shape("roberta", 12, 768, 12, 12, 64, 3072, 50265, positions=514, limit_tokens=512, types=1, dropout=True)

KNOWN: dict[str, Shape] = {
    "gpt2": _GPT2,
    "openai-community/gpt2": _GPT2,
    "lvwerra/gpt2-imdb": _GPT2,
    "lvwerra/distilbert-imdb": _DISTILBERT,
    "distilbert/distilbert-base-uncased": _DISTILBERT,
    "distilbert-base-uncased": _DISTILBERT,
    "facebook/opt-1.3b": _OPT,
    "google/flan-t5-base": _FLAN_T5,
    "facebook/roberta-hate-speech-dynabench-r4-target": _ROBERTA,
    "EleutherAI/pythia-410m": replace(_PYTHIA, layers=24, hidden=1024, heads=16, kv_heads=16, head_dim=64, ffn=4096),
    "EleutherAI/pythia-1b": replace(_PYTHIA, layers=16, hidden=2048, heads=8, kv_heads=8, head_dim=256, ffn=8192),
    "EleutherAI/pythia-2.8b": _PYTHIA,
    "nvidia/GPT-2B-001": _LLAMA_2B,
    "meta-llama/Llama-2-7b-hf": _LLAMA_7B,
    "meta-llama/Llama-2-7b-chat-hf": _LLAMA_7B,
    "Qwen/Qwen2.5-7B": _QWEN_7B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN_7B,
}
"""By hub id, from each model's published config.json."""
