"""What passes a hop of the pipeline, live."""
