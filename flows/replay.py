"""replay: months of the past are sent to the live endpoints as if they happened now."""

from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from tasks.data.snapshot import label_of
from tasks.data.steps import next_batches, read_raw
from tasks.release.steps import endpoint_addresses
from tasks.replay.faults import Fault
from tasks.replay.steps import (
    Traffic,
    deliver_batch,
    live_addresses,
    prepare_batch,
    report_replay,
    send_feedback,
    send_requests,
    start_drills,
    start_monitors,
    wait_until_settled,
)

NEXT: list[str] = []


@flow(flow_run_name="replay-{dataset}-{fault}")
def replay(
    dataset: str,
    batches: list[str] = NEXT,
    requests: Annotated[int, Field(ge=100, le=1_000_000)] = 2_000,
    fault: Fault = "none",
    days_per_second: Annotated[float, Field(ge=0)] = 0,
) -> State[Any]:
    """Replay periods: requests in event order, then their labels, then the period's batch.

    Args:
        dataset: Name of the dataset's folder in expectations.
        batches: Periods to replay, such as 2013-04. Leave empty for the one that comes next.
        requests: Requests per period and model, evenly sampled.
        days_per_second: How fast the data's clock runs. 0 sends as fast as the endpoints answer.
        fault: What goes wrong. unit_change breaks a feature, concept_change shifts the labels, shuffled_labels spoils a training.
    """
    addresses, traffic = live_addresses(dataset, endpoint_addresses()), list[Traffic]()
    if fault == "shuffled_labels":
        wait_until_settled(start_drills(list(addresses)), list(addresses))
        return report_replay(traffic)
    for batch in batches or next_batches(dataset):
        url = prepare_batch(dataset, batch, fault, read_raw)
        sent = [send_requests(model, url, requests, fault, address, label_of, days_per_second) for model, address in addresses.items()]
        for each in sent:
            send_feedback(each)
        traffic += sent
        wait_until_settled([deliver_batch(dataset, batch, url), *start_monitors(list(addresses))], list(addresses))
    return report_replay(traffic)
