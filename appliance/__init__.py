"""An RLHF appliance: supervised fine-tuning, reward model, PPO and a report, on one machine."""

__version__ = "0.1.0"
