"""The model family: trained here from nothing (miniature), or resolved from pinned hub checkpoints."""
