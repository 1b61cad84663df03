"""What an operator reads on a deployment's page: what it does, what can be done here, where to look."""

TEXTS = {
    "ingest": """\
Takes raw batches of **{name}** in: reads them from their source, holds them against `expectations/{name}/raw.json`, and keeps them in the
store.

- A batch that fails is *quarantined*: nothing trains on it, the reason is on the run's page. Let it in with
  [waive/{name}]({ui}/deployments).
- *Batches* empty: those that are due. *Uri*: a file to take one batch from instead.

Record: `ratchet datasets`""",
    "waive": """\
Lets a quarantined batch of **{name}** in after all. The ledger keeps your name and your reason.

- The batch that is waived is the one that was looked at: other bytes under the same name need a waiver of their own.

Record: `ratchet status`""",
    "replay": """\
Sends periods of **{name}** to the live endpoints as if they happened now: requests in order of event time, then their labels, then the
batch itself.

- *Fault* breaks something on purpose, to see that the loop notices: a changed unit, shifted labels, or labels shuffled in training.

Record: `ratchet history MODEL`""",
    "train": """\
Trains one new version of **{name}** and holds it against the champion on later rows that neither has seen. Accepted: it is released.
Refused: the champion stays.

- Start it with other *Settings* by hand: they are recorded with the decision.
- One training at a time: while a decision is open, another one is declined, and the run says so.
- Pause and resume its schedule at the right, if it has one.

Record: `ratchet history {name}`""",
    "release": """\
Takes a version of **{name}** live: it is tried in a throw-away server first, and takes over without losing a request; if it fails, what was
live goes on answering.

- *Version* empty: the newest one that the gate accepted. Give your name and your reason.

Record: `ratchet live {name}`""",
    "rollback": """\
Brings back the version of **{name}** that was live before the present one.

- Give your name and your reason, then run. It takes seconds; no request is lost.

Record: `ratchet live {name}`""",
    "monitor": """\
Judges each closed window of live traffic of **{name}**: is the data sound, has it drifted, is the model still as good as on its hold-out?
What it finds is proposed; the decision engine decides.

- Pause and resume its schedule at the right. Run it now to judge what has closed meanwhile.

Record: `ratchet history {name}`""",
    "score": """\
Scores a file with the version of **{name}** that is live: the numbers that its endpoint would give.

- *Source* and *Target*: a CSV or Parquet file each, a path or an fsspec URL that the run can reach. *Raw*: rows of the dataset, of which
  the features are made first.
- Rows that the endpoint would refuse get an `error` and no score.

Record: the run's page""",
    "reconcile": """\
Looks for what was decided and never ended, and starts it again; what died is closed or undone. Safe to run at any time.

- Archives old lines of each model's log and deletes those older than its `log.keep_days`, also while a monitor is paused.
- Paused, a training that died is not started again.

Record: `ratchet status`""",
}


def described(flow: str, name: str, ui_url: str) -> str:
    """Description of a deployment in markdown."""
    where = (
        f"\n\n**Where to look:** [status of all models]({ui_url}/artifacts/key/status) · [artifacts]({ui_url}/artifacts) · `ratchet why ID` explains any id."
    )
    return TEXTS[flow].format(name=name, ui=ui_url) + where
