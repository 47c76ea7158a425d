"""Generation engines behind one protocol (`protocol.Engine`), opened by name (`engines.open_engine`).

`transformers_engine` samples in this process; the modules named vllm are one more engine, in processes of its own or
behind a server. `prompts` renders problems into requests, `seeds` gives every token its random number.
"""
