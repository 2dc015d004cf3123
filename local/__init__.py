"""The laptop: the real stack in an emulator, with a stand-in for the one hop it lacks."""
