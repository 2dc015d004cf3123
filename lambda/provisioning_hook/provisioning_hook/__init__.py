"""Whether a device that holds a claim certificate may have the name it asks for."""
