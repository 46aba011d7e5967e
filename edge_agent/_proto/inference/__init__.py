"""Generated from protos/ by scripts/generate-protos; not edited by hand."""
