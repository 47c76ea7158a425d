"""What a study is and what of it is done: params, grid, paths, fingerprints, manifests, status."""
