"""The model in a process of its own: client (node side), protocol, server (model side)."""
