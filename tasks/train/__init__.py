"""GRPO training.

Start at `launch` (processes for the runs of a grid) or at `loop` (one run, inside its process): a step is `rollouts`,
`batching`, `update` with `objective`, and a row of metrics. `session` holds what a run has open, `persistence` and
`checkpoints` what it leaves on disk, `distributed` what several processes share, `memory` and `placement` what a run
needs, `ledger` its FLOPs.
"""
