"""What people see of a training: the table of champion and challenger, and the model card. Pure markdown."""

from tasks.ledger.rows import GateResult, VersionRow
from tasks.training.search import SearchResult, TrialResult

SHOWN_TRIALS = 20


def gate_sentence(gate: GateResult) -> str:
    """The verdict in one sentence, with the first reason and how many more there are."""
    more = f" (and {len(gate.reasons) - 1} more reasons)" if len(gate.reasons) > 1 else ""
    return f"{_verdict(gate)}: {gate.reasons[0]}{more}"


def _verdict(gate: GateResult) -> str:
    return "✅ accepted" if gate.accepted else "❌ refused"


def gate_markdown(version: VersionRow) -> str:
    """Scores of the rivals, the gain with its interval, and every slice."""
    gate = version.gate
    reasons = "\n".join(f"- {reason}" for reason in gate.reasons)
    scores = "\n".join(f"| {name} | {value:.4f} |" for name, value in gate.scores.items())
    against = f"the champion {gate.champion}" if gate.champion else "the trivial model, because nothing was live"
    gain = f"Gain over {against}: {gate.gain[1]:+.4f} (from {gate.gain[0]:+.4f} to {gate.gain[2]:+.4f})." if gate.gain else "No gain could be computed."
    return f"""# {version.model} {version.version}

**{_verdict(gate)}**

{reasons}

Scored on {gate.rows:,} rows in {gate.blocks} blocks, all later than what either was trained on. {gain}

| model | {gate.metric} |
|---|---|
{scores}
{_slices(gate)}"""


def _slices(gate: GateResult) -> str:
    if not gate.slices:
        return ""
    lines = "\n".join(f"| {name} | {rows:,} | {ours:.4f} | {theirs:.4f} |" for name, (rows, ours, theirs) in sorted(gate.slices.items()))
    return f"\n## Slices\n\n| slice | rows | challenger | {'champion' if gate.champion else 'trivial'} |\n|---|---|---|---|\n{lines}\n"


def model_card(version: VersionRow, found: SearchResult) -> str:
    """Where a version comes from: data, code, parameters, trials, digests."""
    facts = {
        "decision": version.decision,
        "family": version.family,
        "parameters": ", ".join(f"{key} {value}" for key, value in version.params.items()),
        "training rows": f"{version.rows:,}, up to {version.cutoff:%Y-%m-%d %H:%M}",
        "hold-out": f"{version.gate.metric} {version.holdout_score:.4f} on rows up to {version.seen_until:%Y-%m-%d %H:%M}",
        "served as": f"{version.format}: {version.parity}",
        "snapshot": version.snapshot,
        "code": version.code,
        "model files": version.artefact,
        "predictions": version.prediction_digest,
        "seed": str(version.seed),
        "made with": f"Python {version.python} on {version.cpu}",
    }
    lines = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items())
    trials = "\n".join(_trial(trial) for trial in sorted(found.trials, key=lambda t: (t.value is None, t.number))[:SHOWN_TRIALS])
    return f"""# Model card: {version.model} {version.version}

| | |
|---|---|
{lines}

## Search

{found.reason}. The linear model reached {found.simple:.4f}.

| trial | family | {found.metric} on validation rows | parameters |
|---|---|---|---|
{trials}
"""


def _trial(trial: TrialResult) -> str:
    value = f"{trial.value:.4f}" if trial.value is not None else f"failed: {_cell(trial.error)[:80]}"
    shown = ", ".join(f"{key} {round(value, 4) if isinstance(value, float) else value}" for key, value in trial.params.items() if key not in {"family", "seed"})
    return f"| {trial.number} | {trial.family} | {value} | {_cell(shown)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
