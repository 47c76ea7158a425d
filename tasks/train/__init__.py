"""GRPO training.

- `launch`, `placement`: the processes of a grid's runs and their placement; `steps`: the Prefect tasks.
- `loop`: one run inside its processes; `context`: what it has open; `run_io`, `checkpoint_folder`, `checkpoints`,
  `final_weights`, `sharded_files`: its files.
- A step: `rollouts`, `batching`, `objective`, `update`; `run_engine`: its sampler; `ledger`: its FLOPs.
- `parallel`: the policy over several processes; `lora`: adapters.
"""
