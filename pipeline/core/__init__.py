"""What all other packages use: errors, files, params, progress, worker threads and processes."""
