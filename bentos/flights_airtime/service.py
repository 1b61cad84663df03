"""How many minutes will a flight be in the air? Its endpoint: the typed rows, answers and labels that model.toml describes."""

from pathlib import Path

from bentos.runtime.service import service_of

FlightsAirtime = service_of(Path(__file__).with_name("model.toml"))
