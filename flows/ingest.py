"""ingest: a raw batch is validated and taken into the store, or set aside with the reason."""

from typing import Any

from prefect import State, flow

from tasks.data.steps import due_batches, report_batches, take_batch
from tasks.governance.steps import hand_over, models_of, propose_changes, publish_status

DUE: list[str] = []


@flow(flow_run_name="ingest-{dataset}")
def ingest(dataset: str, batches: list[str] = DUE, uri: str = "") -> State[Any]:
    """Take raw batches in, in their order.

    Args:
        dataset: Name of the dataset's folder in expectations.
        batches: Names of the batches, such as 2013-04. Leave empty for those that are due.
        uri: Take the batch from this file instead of the dataset's own source. Only with one batch.
    """
    taken = [take_batch(dataset, batch, uri) for batch in batches or due_batches(dataset)]
    for model in models_of(dataset):
        propose_changes(model)
        hand_over(model)
    publish_status()
    return report_batches(dataset, taken)
