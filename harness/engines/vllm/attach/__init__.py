"""Observing an engine that others started: `vllm serve`.

In the server, `plugin` puts `extension` into the workers, where `guest` observes, and `endpoint` serves `protocol` on the
server's port. Here, `client` speaks it, and `driver` is the serving driver whose engine is that server.
"""
