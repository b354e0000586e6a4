"""What every room uses: errors, files, params, progress, worker threads and processes."""
