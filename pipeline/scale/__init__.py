"""Work beyond one process: Dask clusters and Parquet shards."""
