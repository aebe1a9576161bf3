"""The groups of rows of benchmarks/speed.py. Everything but the comparison of threads runs on one."""

import os

# Before anything that counts threads is imported.
os.environ |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
os.environ["TQDM_DISABLE"] = "1"
