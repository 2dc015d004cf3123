"""How readings get to the broker: stored on disk, packed into messages, sent until acknowledged."""
