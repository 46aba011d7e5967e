"""Protobuf to documents and back, in pairs. Pure: it reads no memory of others and knows no server."""
