"""The resource ``alerts``: who is told of failed runs."""

import dagster as dg
from pydantic import Field


class AlertsResource(dg.ConfigurableResource):  # type: ignore[type-arg] # no value of its own
    """A webhook that takes Slack's JSON."""

    webhook: str = Field(description="its address, a secret: give it as EnvVar", repr=False)
    ui_url: str = Field("", description="where Dagster's UI is, for a link to the run")
