"""The commands of `rlscale`, one module per noun; `flows.cli` collects them."""
