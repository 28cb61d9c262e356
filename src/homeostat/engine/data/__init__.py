"""Datasets: what a contract means for a frame of rows, and how batches of rows are carried."""
