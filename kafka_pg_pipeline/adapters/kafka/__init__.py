"""kafka-python behind the ports."""
