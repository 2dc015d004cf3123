"""The operator's commands, which need AWS credentials: ``python -m ops.NAME``."""

import device  # noqa: F401  # handles Ctrl-C while a command is still being imported
