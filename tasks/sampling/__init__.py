"""Prompts in, completions and verdicts out: one protocol for all engines.

protocol             requests, settings, completions, `Engine`
seeds                counter-based randomness of every token
prompts              problems rendered for a model
completions          decoded and graded
engines              opens an engine by name
transformers_engine  PyTorch in the caller's process
vllm/                vLLM in a process or a server of its own
"""
