"""Rebuilds an hour of arrival from its raw objects into sorted daily Parquet files."""
