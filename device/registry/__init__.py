"""What AWS IoT knows of a device: its thing, its certificates and its policies."""
