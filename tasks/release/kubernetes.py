"""The Kubernetes target: a release is one revision of a Deployment, and what fails is undone."""

import asyncio
import json
import time
from collections.abc import Mapping

from bentos.runtime.release import Release
from tasks.errors import PlatformError, ReleaseError
from tasks.release.cluster import Cluster
from tasks.release.manifests import MODEL_LABEL, PREVIOUS, RELEASE, config_map, placed, render, scaled
from tasks.release.pod import PORT, Manifest, config_map_name, dashed
from tasks.release.rollout import Rollout, completed, done, read
from tasks.release.standing import release_in, status_of
from tasks.release.target import ServingStatus
from tasks.settings import Settings
from tasks.spec import ModelSpec
from tasks.store import Store

POLL_SECONDS = 0.5
PLACED_SECONDS = 30.0  # beyond the caller's limit: scheduling, the image and the bento come before the start that it has in mind
UNDO_SECONDS = 60.0  # the old pods answer all the while
SIZE_MANAGER = "ratchet-size"  # keeps the number of replicas until the autoscaler takes it


class KubernetesTarget:
    """See `Target`. Pods fetch the bento themselves; `specs` holds every model's spec by name."""

    def __init__(self, settings: Settings, specs: Mapping[str, ModelSpec]) -> None:
        self.settings, self.specs = settings, specs

    def apply(self, release: Release, store: Store) -> None:  # noqa: ARG002  # pods fetch the bento themselves
        """See `Target`. Of what answers when a release is asked for, the Deployment remembers the release object."""
        if not self.settings.serving_image:
            raise ReleaseError(release.model, release.version, "RATCHET_SERVING_IMAGE is not set, so its pods would have no image")
        try:
            asyncio.run(self._apply(release))
        except PlatformError as err:
            raise ReleaseError(release.model, release.version, str(err).rstrip(".")) from err

    def wait_ready(self, release: Release, timeout_seconds: float) -> None:
        """See `Target`. What fails is undone before the error is raised: the release before is applied again, or, without one, nothing is left."""
        try:
            problem = asyncio.run(self._settle(release, timeout_seconds + PLACED_SECONDS))
        except PlatformError as err:
            problem = str(err).rstrip(".")
        if problem:
            raise ReleaseError(release.model, release.version, problem)

    def status(self) -> dict[str, ServingStatus]:
        """See `Target`."""
        return asyncio.run(self._status())

    def remove(self, model: str) -> None:
        """See `Target`."""
        asyncio.run(self._remove(model))

    def addresses(self) -> dict[str, str]:
        """See `Target`. Names of services, so that a caller without rights in the cluster knows them."""
        return {name: f"http://{dashed(name)}.{self.settings.serving_namespace}.svc:{PORT}" for name in self.specs}

    async def _apply(self, release: Release) -> None:
        async with Cluster.of(self.settings.serving_namespace) as cluster:
            now = await cluster.get("Deployment", dashed(release.model))
            if now and completed(now) and release_in(now, RELEASE) == release:
                return
            answers = release_in(now, RELEASE) if now and completed(now) else release_in(now, PREVIOUS)
            spec = self.specs[release.model]
            for manifest in render(release, spec, self.settings)[:-2]:
                await cluster.apply(manifest)
            if not scaled(spec):
                await cluster.delete("HorizontalPodAutoscaler", dashed(release.model))
            await self._roll(cluster, release, answers, now)

    async def _roll(self, cluster: Cluster, release: Release, previous: Release | None, now: Manifest | None) -> None:
        """Apply the Deployment of a release: as it was rendered once, when that is known."""
        spec = self.specs[release.model]
        kept = await cluster.get("ConfigMap", config_map_name(release.id))
        fresh = render(release, spec, self.settings)[-1]
        deployment: Manifest = placed(json.loads(kept["data"]["deployment.json"]), release.model, self.settings) if kept else fresh
        if not kept:
            await cluster.apply(placed(config_map(release, deployment), release.model, self.settings))
        annotations = deployment["metadata"]["annotations"] | ({PREVIOUS: previous.model_dump_json()} if previous else {})
        deployment = deployment | {"metadata": deployment["metadata"] | {"annotations": annotations}}
        if "replicas" not in deployment["spec"]:
            deployment = await self._sized(cluster, deployment, spec, now)
        await cluster.apply(deployment)

    async def _sized(self, cluster: Cluster, deployment: Manifest, spec: ModelSpec, now: Manifest | None) -> Manifest:
        """The first time the release says how many pods there are; from the second on it leaves the number to the autoscaler.

        A field that its last owner drops falls back to its default, one replica: so ownership goes to another manager first.
        """
        if now is None:
            return deployment | {"spec": deployment["spec"] | {"replicas": spec.serving.replicas}}
        if _owns_replicas(now):
            metadata = {"name": deployment["metadata"]["name"], "namespace": self.settings.serving_namespace}
            size = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": now["spec"]["replicas"]}}
            await cluster.apply(size, SIZE_MANAGER)
        return deployment

    async def _settle(self, release: Release, timeout_seconds: float) -> str:
        """Wait for a release, undo it when it fails; returns why it did not go live, else the empty string."""
        async with Cluster.of(self.settings.serving_namespace) as cluster:
            seen = await self._wait(cluster, release, timeout_seconds)
            now = await cluster.get("Deployment", dashed(release.model))
            if now is None or release_in(now, RELEASE) != release:
                return seen.cause  # what took its place is another's
            if seen.state == "done":
                await self._forget(cluster, now)
                return ""
            try:
                undone = await self._undo(cluster, now)
            except PlatformError as err:
                undone = f"It could not be undone, which the reconcile flow will try again: {err}"
            return f"{seen.cause.rstrip('.')}. {seen.remedy} {undone}".rstrip(". ")

    async def _wait(self, cluster: Cluster, release: Release, timeout_seconds: float) -> Rollout:
        until = time.monotonic() + timeout_seconds
        while (seen := await self._look(cluster, release)).state == "progress":
            if time.monotonic() > until:
                return Rollout("failed", f"it was not ready after {timeout_seconds:g} s: {seen.cause}", seen.remedy)
            await asyncio.sleep(POLL_SECONDS)
        return seen

    async def _look(self, cluster: Cluster, release: Release) -> Rollout:
        now = await cluster.get("Deployment", dashed(release.model))
        if now is None:
            return Rollout("failed", "its model was removed meanwhile")
        asked = release_in(now, RELEASE)
        if asked != release:
            return Rollout("failed", f"release {asked.id if asked else ''!r} was asked for instead")
        if done(now):
            return Rollout("done")
        ours = f"{MODEL_LABEL}={release.model}"
        return read(now, await cluster.select("ReplicaSet", ours), await cluster.select("Pod", ours), await cluster.select("Event"))

    async def _undo(self, cluster: Cluster, failed: Manifest) -> str:
        """Put back what answered before, and wait for it; says what became of it when it did not come back."""
        before = release_in(failed, PREVIOUS)
        if before is None:
            await self._delete(cluster, failed["metadata"]["labels"][MODEL_LABEL])
            return "There was none before it, so its pods were removed"
        await self._roll(cluster, before, None, failed)
        back = await self._wait(cluster, before, UNDO_SECONDS)
        if back.state != "done":
            return f"Release {before.id!r} was applied again, but: {back.cause}"
        now = await cluster.get("Deployment", dashed(before.model))
        if now:
            await self._forget(cluster, now)
        return ""

    async def _forget(self, cluster: Cluster, deployment: Manifest) -> None:
        """Delete the ConfigMaps of releases that are neither live nor the one before."""
        model = deployment["metadata"]["labels"][MODEL_LABEL]
        kept = {config_map_name(each.id) for each in (release_in(deployment, RELEASE), release_in(deployment, PREVIOUS)) if each}
        for found in await cluster.select("ConfigMap", f"{MODEL_LABEL}={model}"):
            if (name := found["metadata"]["name"]) not in kept:
                await cluster.delete("ConfigMap", name)

    async def _status(self) -> dict[str, ServingStatus]:
        async with Cluster.of(self.settings.serving_namespace) as cluster:
            ours = "app.kubernetes.io/managed-by=ratchet"
            pods = await cluster.select("Pod", ours)
            return {each.model: each for each in (status_of(found, pods) for found in await cluster.select("Deployment", ours))}

    async def _remove(self, model: str) -> None:
        async with Cluster.of(self.settings.serving_namespace) as cluster:
            await self._delete(cluster, model)

    async def _delete(self, cluster: Cluster, model: str) -> None:
        for kind in ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service", "NetworkPolicy"):
            await cluster.delete(kind, dashed(model))
        for found in await cluster.select("ConfigMap", f"{MODEL_LABEL}={model}"):
            await cluster.delete("ConfigMap", found["metadata"]["name"])


def _owns_replicas(deployment: Manifest) -> bool:
    return any(
        each["manager"] == "ratchet" and each["operation"] == "Apply" and "f:replicas" in each["fieldsV1"].get("f:spec", {})
        for each in deployment["metadata"].get("managedFields", ())
    )
