"""Reward sources, one file each: `Options` (pydantic) and `make(options, device) -> ScoreFn`.

A source's file imports torch only inside `make`, so that `appliance validate` can check options without it.
A ScoreFn takes the prompts and the responses as texts, two lists of length B, and returns a float32 tensor [B].
"""
