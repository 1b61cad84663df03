"""Child program of `package.build`: one bento out of one build context, in a BENTOML_HOME of its own.

A process of its own, because BentoML keeps its home, its model store and the service's imported code for good once it has seen them.
It imports nothing of Ratchet, so that `bentos` can only be the build context's.
"""

import json
import shutil
import sys
from typing import Any


def build(order: dict[str, Any]) -> None:
    """Keep the artefact as a BentoML model, build the bento that pins it, export both as a folder."""
    import bentoml

    with bentoml.models.create(order["model_tag"], labels=order["labels"]) as model:
        shutil.copytree(order["artefact"], model.path, dirs_exist_ok=True)
    bento = bentoml.build(
        order["service"],
        name=order["name"],
        version=order["version"],
        labels=order["labels"],
        description=order["description"],
        build_ctx=order["context"],
        models=[{"tag": order["model_tag"], "alias": order["alias"]}],
        python={"packages": order["requirements"], "lock_packages": False},
    )
    bento.export(order["folder"], output_format="folder")


if __name__ == "__main__":
    build(json.load(sys.stdin))
