"""One message through every hop: found, followed and shown."""
