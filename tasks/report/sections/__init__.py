"""One module per section of the page; each turns `Evidence` (and its pictures, by name) into a `Section`."""
