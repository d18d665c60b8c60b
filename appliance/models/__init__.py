"""Loading, wrapping and saving models: the policy, its reference and its critic."""
