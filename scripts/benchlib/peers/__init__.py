"""The agent beside other servers: the same model, client and transport, each server in an environment of its own."""
