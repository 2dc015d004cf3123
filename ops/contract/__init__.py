"""Change a contract: ``python -m ops.contract``."""
