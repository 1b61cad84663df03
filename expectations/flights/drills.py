"""What may change in the world of these flights, for drills and demos."""

import pandas as pd


def concept_change(raw: pd.DataFrame) -> pd.DataFrame:
    """A runway is closed in the mornings: flights due to leave before ten arrive 40 minutes later than they did."""
    morning = raw["scheduled"].dt.hour < 10
    raw.loc[morning, "arr_delay"] += 40
    return raw


def unit_change(features: pd.DataFrame) -> pd.DataFrame:
    """A caller starts to send kilometres in place of miles."""
    return features.assign(distance=(features["distance"] * 1.609344).round())
