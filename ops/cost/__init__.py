"""What an environment costs: ``python -m ops.cost``."""
