"""Preflight: what is wrong with this machine, and the command that mends it. Nothing here needs torch to start."""
