"""MLflow, as a view of the folders: `publishing` while a stage runs, `sync` at any time; `store` alone connects."""
