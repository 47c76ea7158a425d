"""The vLLM engine: in this process's child, or as a server."""
