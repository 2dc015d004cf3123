"""Turns batches of device messages into typed Parquet, and sets aside what does not fit."""
