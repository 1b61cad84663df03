"""Artifacts of the Prefect UI: one markdown page a thing, with the verdict on its card."""


def publish(key: str, markdown: str, description: str) -> None:
    """Show a page in the UI, as a new version of the page with this key.

    Args:
        key: Name of the page; everything but letters and digits becomes a dash.
        description: Markdown drawn on the card of the run's page: verdict first.
    """
    from prefect.artifacts import create_markdown_artifact

    clean = "".join(c if c.isalnum() else "-" for c in key.lower())
    create_markdown_artifact(key=clean, markdown=markdown, description=description)


def newest(key: str) -> str:
    """Markdown of the newest page with this key; empty when there is none."""
    from prefect.artifacts import Artifact

    found = Artifact.get(key)  # not an `Artifact` itself, whatever its signature says
    return str(getattr(found, "data", ""))
