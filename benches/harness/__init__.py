"""The benchmarks of keyless: what people could pick, compared in one run on one machine.

`make bench` runs this package; `BENCHMARKS.md` is what it writes. Read `chains.py` first to see what
is compared, then `cases.py` and `requests.py` to see how.
"""
