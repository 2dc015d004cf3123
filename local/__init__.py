"""The laptop: the real stack in an emulator, with a stand-in for the one hop that it lacks."""

import device  # noqa: F401  # a clean Ctrl-C while a command is still being imported
