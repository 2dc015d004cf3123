"""The state of an environment's pipeline: gathered, judged and shown."""
