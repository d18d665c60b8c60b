"""The PPO engine. types, kl, advantages, losses are pure tensor maths; rollout, update, checkpoint do one step each."""
