"""GRPO training: objective, rollouts, batching, loop, checkpoints, ledger, launch."""
