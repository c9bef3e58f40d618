"""The conformance kit: does a method keep the contract of :mod:`avatarbench.method`? And a scaffold for a new one."""
