"""Will a flight arrive more than 15 minutes late? Its endpoint: the typed rows, answers and labels that model.toml describes."""

from pathlib import Path

from bentos.runtime.service import service_of

FlightsLate = service_of(Path(__file__).with_name("model.toml"))
