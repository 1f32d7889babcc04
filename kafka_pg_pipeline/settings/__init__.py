"""The configuration file: its models, how it is read, and its errors."""
