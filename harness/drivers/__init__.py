"""How a side is run: a process of its own, the messages that it is sent, and its end."""
