"""Parts that look alike, over all lines and years: embeddings in PostgreSQL with pgvector.

Embeddings of different model versions are never compared: each version has rows and an index of
its own. Not done here: computing them otherwise than a device does (``evaluation.device``).
"""
