"""Run stages on a Dask cluster, and exchange tables as Parquet shards."""
