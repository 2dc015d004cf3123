"""Turns batches of device messages into typed Parquet, and keeps what does not fit."""
