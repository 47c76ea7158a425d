"""Generation engines behind one protocol: the transformers engine here, the vLLM engine in its own module."""
