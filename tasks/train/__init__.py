"""GRPO training.

Start at `launch` (processes for the runs of a grid) or at `loop` (one run, inside its process): a step is `rollouts`,
`batching`, `update` with `objective`, and a row of metrics. `context` holds what a run has open, `run_io` and
`checkpoints` what it leaves on disk, `parallel` what several processes share, `placement` what a run
needs, `ledger` its FLOPs.
"""
