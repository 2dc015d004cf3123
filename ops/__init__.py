"""What an operator does: each command is `python -m ops.NAME`."""
