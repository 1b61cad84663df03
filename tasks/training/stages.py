"""The stages of one training: search, fit, gate. Each takes small values and references, and builds its frame from the snapshot."""

import io
import platform
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from bentos.runtime.scoring import Scorer
from tasks.errors import SpecError
from tasks.ledger.rows import GateResult, VersionRow
from tasks.store import Ref, Store
from tasks.training.baselines import SIMPLE, trivial
from tasks.training.candidate import Candidate, Fitted, candidate
from tasks.training.export import export
from tasks.training.fit import fit, raw_scores
from tasks.training.gate import Rivals, judge, refuse
from tasks.training.job import Job, split_of
from tasks.training.leak import find_leaks
from tasks.training.metrics import Array, Measure
from tasks.training.reference import reference_rows
from tasks.training.search import SearchResult, search

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def make_candidate(job: Job, champion: VersionRow | None) -> Candidate:
    """All stages in a row."""
    found = search_stage(job)
    fitted = fit_stage(job, found)
    return candidate(job, found, fitted, gate_stage(job, fitted, champion))


def search_stage(job: Job) -> SearchResult:
    """What to fit. Raises TrainingError when the rows cannot give a candidate."""
    return search(split_of(job).train, job.spec, job.pipeline)


def fit_stage(job: Job, found: SearchResult) -> Fitted:
    """Fit on all training rows, export, and keep artefact and reference rows in the store."""
    rows, spec = split_of(job), job.spec
    pipeline = fit(rows.train, spec, job.pipeline, found.params)
    with TemporaryDirectory() as temporary:
        exported = export(pipeline, spec, rows.train, rows.holdout, rows.cutoff, Path(temporary) / "artefact")
        artefact = job.store.put_tree(exported.folder)
        reference = reference_rows(rows, Scorer.load(exported.folder), spec)
    return Fitted(
        version=exported.version,
        cutoff=rows.cutoff,
        seen_until=rows.seen_until,
        family=found.family,
        params=found.params,
        rows=len(rows.train),
        format=exported.format,
        parity=exported.parity,
        prediction_digest=exported.prediction_digest,
        artefact=artefact,
        pipeline=_kept(pipeline, job.store) if exported.format == "onnx" else "",
        reference=job.store.put(reference, ".parquet"),
        holdout_score=exported.holdout_score,
        python=platform.python_version(),
        cpu=_cpu(),
    )


def gate_stage(job: Job, fitted: Fitted, champion: VersionRow | None) -> GateResult:
    """Hold the exported challenger against the exported champion on the rows that neither was trained on."""
    rows, spec, name = split_of(job), job.spec, champion.version if champion else ""
    after = max(fitted.cutoff, champion.cutoff) if champion else fitted.cutoff
    later = rows.holdout[_later(rows.holdout, after)].reset_index(drop=True)
    if later.empty:
        return refuse(f"no row is later than {after:%Y-%m-%d %H:%M}, the cut-off of the champion", spec, name)
    try:
        theirs = _champion_scores(job, champion, after) if champion else None
    except SpecError as err:
        return refuse(f"the champion cannot be asked about today's rows: {err}", spec, name)
    ours = _scorer(job, fitted.artefact).score(later)
    linear = ours
    if fitted.family != SIMPLE:
        linear = raw_scores(fit(rows.train, spec, job.pipeline, {"family": SIMPLE, "seed": spec.seed}), later, spec.contract)
    rivals = Rivals(challenger=ours, champion=theirs, simple=linear, trivial=trivial(Measure.of(spec), rows.train["label"], len(later)))
    return judge(later, rivals, spec, name, find_leaks(rows.train, rows.holdout, spec))


def _champion_scores(job: Job, champion: VersionRow, after: datetime) -> Array:
    """Scores of the champion's own artefact, on rows in the form of its own contract.

    Raises:
        SpecError: the champion answers another question, or `features()` no longer gives what it needs.
    """
    scorer = _scorer(job, Ref.parse(champion.artefact))
    contract = scorer.card.contract
    if (contract.task, contract.classes) != (job.spec.task, job.spec.classes):
        found = f"task or classes differ from those of the champion {champion.version}; give the new question a model of its own"
        raise SpecError(job.spec.folder / "model.toml", [found])
    frame = job.frames(job.spec.model_copy(update={"features": contract.features}))
    return scorer.score(frame[_later(frame, after)])


def _scorer(job: Job, artefact: Ref) -> Scorer:
    """The model of an artefact in the store. The files are gone when this returns; the opened model needs them no more."""
    with TemporaryDirectory() as temporary:
        return Scorer.load(job.store.get_tree(artefact, Path(temporary) / "artefact"))


def _kept(pipeline: "Pipeline", store: Store) -> str:
    """Store ref of the pickled pipeline beside an ONNX model, which `ratchet explain` replays; no server ever opens it. Empty when it cannot be pickled."""
    import joblib

    buffer = io.BytesIO()
    try:
        joblib.dump(pipeline, buffer)
    except Exception:  # noqa: BLE001  # an author's own step may raise anything; the model serves without it
        return ""
    return str(store.put(buffer.getvalue(), ".pkl"))


def _later(frame: pd.DataFrame, moment: datetime) -> "pd.Series[bool]":
    return frame["event_time"] > pd.Timestamp(moment).tz_localize(None)


def _cpu() -> str:
    """Machine type and the instruction set that the linear algebra library chose: other sums on another one."""
    from threadpoolctl import threadpool_info

    kinds = sorted({str(pool["architecture"]) for pool in threadpool_info() if pool.get("architecture")})
    return " ".join([platform.machine(), *kinds])
