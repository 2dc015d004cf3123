"""The parser's asset: one folder, ready to be zipped for Lambda, built without Docker."""
