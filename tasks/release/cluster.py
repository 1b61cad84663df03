"""The Kubernetes API as the target needs it: a few kinds of one namespace, server-side apply, and patience with a server that is away for a moment."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, ApiException, Configuration

from tasks.errors import PlatformError

MANAGER = "ratchet"
KINDS = {
    "ConfigMap": "api/v1/{}/configmaps",
    "Deployment": "apis/apps/v1/{}/deployments",
    "Event": "api/v1/{}/events",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2/{}/horizontalpodautoscalers",
    "NetworkPolicy": "apis/networking.k8s.io/v1/{}/networkpolicies",
    "Pod": "api/v1/{}/pods",
    "PodDisruptionBudget": "apis/policy/v1/{}/poddisruptionbudgets",
    "ReplicaSet": "apis/apps/v1/{}/replicasets",
    "Service": "api/v1/{}/services",
}
OUTAGE_SECONDS = 60.0  # how long an API server may be away: an upgrade of a control plane takes some tens of seconds
PAUSE_SECONDS = 1.0
REQUEST_SECONDS = 15.0
MOMENTARY = {HTTPStatus.TOO_MANY_REQUESTS, *(status for status in HTTPStatus if status >= HTTPStatus.INTERNAL_SERVER_ERROR)}


class Cluster:
    """One namespace of a cluster. Every call is repeated while the API server is away, for OUTAGE_SECONDS.

    Raises:
        PlatformError: it stayed away, or refused the request.
    """

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.client, self.namespace = client, namespace

    @classmethod
    @asynccontextmanager
    async def of(cls, namespace: str) -> AsyncIterator["Cluster"]:
        """The cluster that this pod runs in, else the one of KUBECONFIG."""
        configuration = Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                # Named here, since the library reads KUBECONFIG when it is imported.
                await config.load_kube_config(config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except (config.ConfigException, OSError) as err:
            raise PlatformError(f"No cluster is configured: {err}", "Set KUBECONFIG, or RATCHET_TARGET=local.") from err
        async with ApiClient(configuration) as client:
            yield cls(client, namespace)

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """An object, or None."""
        return await self._call("GET", f"{self._path(kind)}/{name}")

    async def select(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects with these labels; without a selector, all."""
        found = await self._call("GET", self._path(kind), query=[("labelSelector", selector)] if selector else [])
        return list(found["items"]) if found else []

    async def apply(self, manifest: dict[str, Any], manager: str = MANAGER) -> dict[str, Any]:
        """Server-side apply: the object is as the manifest says, and what it does not say is others'."""
        path = f"{self._path(manifest['kind'])}/{manifest['metadata']['name']}"
        applied = await self._call("PATCH", path, manifest, [("fieldManager", manager), ("force", "true")])
        assert applied is not None
        return applied

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object and what it owns; one that is not there is no error."""
        await self._call("DELETE", f"{self._path(kind)}/{name}", {"propagationPolicy": "Background"})

    def _path(self, kind: str) -> str:
        return "/" + KINDS[kind].format(f"namespaces/{self.namespace}")

    async def _call(self, method: str, path: str, body: Any = None, query: list[tuple[str, str]] | None = None) -> dict[str, Any] | None:
        until = time.monotonic() + OUTAGE_SECONDS
        while True:
            try:
                return await self._once(method, path, body, query)
            except (aiohttp.ClientError, TimeoutError, ApiException) as err:
                if isinstance(err, ApiException) and err.status == HTTPStatus.NOT_FOUND and method in {"GET", "DELETE"}:
                    return None
                if isinstance(err, ApiException) and err.status not in MOMENTARY:
                    raise PlatformError(
                        f"The cluster refuses {method} {path}: {_said(err)}", "Mend what it names; rights are in deployments/kubernetes."
                    ) from err
                if time.monotonic() > until:
                    raise PlatformError(f"The API server was away for {OUTAGE_SECONDS:g} s: {err!r}", "See that it runs, then start this again.") from err
            await asyncio.sleep(PAUSE_SECONDS)

    async def _once(self, method: str, path: str, body: Any, query: list[tuple[str, str]] | None) -> dict[str, Any]:
        answer: dict[str, Any] = await self.client.call_api(
            path,
            method,
            query_params=list(query or ()),
            header_params={"Accept": "application/json", "Content-Type": "application/apply-patch+yaml" if method == "PATCH" else "application/json"},
            body=body,
            response_types_map=dict.fromkeys((200, 201, 202), "object"),
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _request_timeout=REQUEST_SECONDS,
        )
        return answer


def _said(err: ApiException) -> str:
    try:
        return str(json.loads(err.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return f"HTTP {err.status} {err.reason}"
