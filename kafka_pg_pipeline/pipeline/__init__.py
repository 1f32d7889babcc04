"""The use case: plan, read, decode, encode, write, in one loop."""
