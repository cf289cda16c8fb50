"""The parts of benchmarks/demo.py."""
