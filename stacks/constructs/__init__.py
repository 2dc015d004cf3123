"""The parts of the pipeline, each a construct that knows nothing of the others."""
