"""Decides whether a device with a claim certificate may have the name it asks for."""
