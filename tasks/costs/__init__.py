"""What a run costs: FLOPs, memory, GPUs, step time, money."""
