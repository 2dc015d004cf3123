"""What an operator does, with AWS credentials: each command is ``python -m ops.NAME``."""

import device  # noqa: F401  # a clean Ctrl-C while a command is still being imported
