"""One module per picture; each draws from `Evidence` and returns an SVG document, or None where there is no data."""
