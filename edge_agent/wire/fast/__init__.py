"""The local fast path's messages: ``docs/fast-path.md`` says the bytes, here is both ends' reading of them."""
