"""Side-by-side measurements, one module each: `python -m benchmarks NAME [--json]`."""
