"""A project in which `ratchet new` made one model of each kind."""

import pytest
from strangers import Made, harvests, rents, subscribers

from deployments.scaffold.new import new


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One model of each kind."""
    root = tmp_path_factory.mktemp("scaffolded")
    subscribers().to_csv(root / "subscribers.csv", index=False)
    harvests().to_csv(root / "harvests.csv", index=False)
    rents().to_csv(root / "rents.csv", index=False)
    return Made(
        root,
        {
            "scaf_churn": new("scaf_churn", root / "subscribers.csv", "left us", None, root),
            "scaf_grade": new("scaf_grade", root / "harvests.csv", "grade", "picked_at", root, dataset="scaf_harvest"),
            "scaf_rent": new("scaf_rent", root / "rents.csv", "rent", "day", root),
        },
    )
