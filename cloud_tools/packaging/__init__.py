"""From a run to a bundle: a directory with a manifest, the graph and the golden samples."""
