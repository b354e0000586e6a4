"""What every room uses: errors, files, params, progress, worker processes."""
