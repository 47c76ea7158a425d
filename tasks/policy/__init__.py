"""The policy network as both the trainer and the sampler see it: packing, packed forward, log-probs, decoding."""
