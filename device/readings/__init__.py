"""What a device publishes: where readings come from, and whether they fit the contract."""
