"""How much memory a config takes, phase by phase, worked out from the models' sizes: no torch, no model loaded.

docs/plan.md says how each number is made. `make.plan` is the entry.
"""
