"""waive: a person lets a quarantined batch in, and the ledger remembers who and why."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.data.steps import record_waiver
from tasks.governance.steps import hand_over, models_of, publish_status


@flow(flow_run_name="waive-{dataset}-{batch}")
def waive(
    dataset: str,
    batch: Annotated[str, Field(min_length=1, description="Name of the quarantined batch, such as 2013-02.")],
    approver: Annotated[str, Field(min_length=2, description="Your name. The ledger keeps it.")],
    reason: Annotated[str, Field(min_length=5, description="Why these rows may train a model after all.")],
) -> None:
    """Let a quarantined batch train.

    Args:
        dataset: Name of the dataset's folder in expectations.
    """
    record_waiver(dataset, batch, approver, reason)
    for model in models_of(dataset):
        hand_over(model)
    publish_status()
