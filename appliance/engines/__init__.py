"""Generation engines, one file each: `make(policy, sampling) -> Engine`. An engine returns tokens and nothing else.

The log-probabilities that PPO trains on are recomputed by the trainer; how far the engine's own lie from them is a
metric (engine_gap). A leading underscore hides a file that is no engine.
"""
