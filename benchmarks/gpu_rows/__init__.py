"""The groups of rows of benchmarks/gpu.py."""
