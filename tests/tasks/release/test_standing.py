"""How a model stands on a cluster, from what the API says of its Deployment."""

from typing import Any

import hosting

from tasks.release.manifests import render
from tasks.release.standing import status_of
from tasks.release.target import Pods


def test_it_says_how_many_pods_are_ready_and_what_each_asks_for() -> None:
    settings = hosting.settings(hosting.folder(), serving_image="local/serving:abc", target="kubernetes")
    spec = hosting.spec()
    deployment: dict[str, Any] = render(hosting.release(hosting.bento(1.0)), spec, settings)[-1]
    deployment["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
    deployment["spec"]["replicas"] = 3

    assert status_of(deployment, []).pods == Pods(ready=0, wanted=3, cpu=spec.serving.cpu, memory=spec.serving.memory, omp_threads="1")
    assert status_of(deployment | {"status": {"readyReplicas": 2}}, []).pods == Pods(ready=2, wanted=3, cpu="500m", memory="1Gi", omp_threads="1")
