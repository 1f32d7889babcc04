"""Fractions in JSON, which has no number for NaN and the infinities."""


def write_fraction(number: float) -> float | str:
    """The number, or PostgreSQL's word for what JSON has no number for."""
    if number - number == 0:
        return number
    if number != number:
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
