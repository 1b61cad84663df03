"""The types of requests and answers, made from a contract. Wrong is refused here; unseen is not wrong and passes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model, with_config
from typing_extensions import TypedDict

from bentos.runtime.contract import Contract, Feature

LIMIT = 1e30  # beyond any measurement, and well inside float32 (3.4e38), in which exported models compute
LONGEST = 1_000  # characters of a category or an entity
YEARS = range(1970, 2200)  # in UTC; monitoring reads no other times
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _iso(value: Any) -> Any:
    if not isinstance(value, str) or value[4:5] != "-":  # Pydantic would take "20130101" for seconds since 1970
        raise ValueError("the time must be ISO 8601, as 2013-01-01T08:30:00Z")
    return value


def _utc(moment: datetime) -> datetime:
    movable = moment.tzinfo and 1 < moment.year < 9999  # others may be in a year in UTC that there is not
    utc = moment.astimezone(UTC) if movable else moment.replace(tzinfo=UTC)
    if utc.year not in YEARS:
        raise ValueError("the time must be in the years 1970 to 2199, in UTC")
    return utc


def _whole(number: float) -> float:
    if number % 1:  # Pydantic's own multiple_of takes 1e-20 and 2.9999999999
        raise ValueError("the number must be whole")
    return number


Number = Annotated[float, Field(ge=-LIMIT, le=LIMIT)]
Integer = Annotated[float, Field(ge=-LIMIT, le=LIMIT, json_schema_extra={"multipleOf": 1}), AfterValidator(_whole)]  # 3.0 is 3 in JSON, and many send it so
NO_NUL = r"^[^\x00]*$"  # ONNX's strings end there
Text = Annotated[str, Field(max_length=LONGEST, pattern=NO_NUL)]
Filled = Annotated[str, Field(min_length=1, max_length=LONGEST, pattern=NO_NUL)]
IN_RANGE = {"pattern": "^(197[1-9]|19[89][0-9]|20[0-9]{2}|21[0-8][0-9]|219[0-8])-"}  # for the OpenAPI document: years that are in `_utc`'s range in any zone
Moment = Annotated[datetime, Field(strict=False, json_schema_extra=IN_RANGE), BeforeValidator(_iso), AfterValidator(_utc)]


class Models:
    """The Pydantic models of an endpoint's requests and replies. `sample` holds rows of an example request."""

    def __init__(self, contract: Contract, max_rows: int, sample: Sequence[dict[str, Any]] = ()) -> None:
        self.contract, self.max_rows, self.sample = contract, max_rows, tuple(sample)
        self.request = request_model(contract, max_rows)
        self.response = response_model(contract)
        self.feedback = feedback_model(contract, max_rows)


def row_model(contract: Contract) -> Any:
    """A typed dict, since a feature may have any name: exactly the contract's features, and `event_time` and `entity` where the caller has them.

    Strict: no coercion, no unknown field, no NaN. A naive time is UTC. A nullable feature may be null or left out.
    """
    columns: dict[str, Any] = {name: _column(feature) for name, feature in contract.features.items()}
    columns["event_time"] = NotRequired[Annotated[Moment | None, Field(description="When the event happened, ISO 8601; left out: now.")]]
    columns["entity"] = NotRequired[Annotated[Text | None, Field(description="What the row is about; only a hash of it is kept.")]]
    return with_config(STRICT)(TypedDict("Row", columns))  # type: ignore[operator]  # the fields are known at run time only


def _column(feature: Feature) -> Any:
    text = Text if feature.nullable else Filled  # the empty string is null to a model: see `Contract.frame`
    kind: Any = {"number": Number, "integer": Integer, "boolean": bool, "category": text}[feature.type]
    if feature.closed and feature.type == "category":
        kind = Literal[tuple(value for value in feature.closed if value or feature.nullable)]
    if feature.description:
        kind = Annotated[kind, Field(description=feature.description)]
    return NotRequired[kind | None] if feature.nullable else kind


def request_model(contract: Contract, max_rows: int) -> type[BaseModel]:
    """Body of POST /predict: `rows`, 1 to `max_rows` of them."""
    rows: Any = list[row_model(contract)]  # type: ignore[misc]  # as above
    return create_model("PredictRequest", __config__=STRICT, rows=(rows, Field(min_length=1, max_length=max_rows)))


def response_model(contract: Contract) -> type[BaseModel]:
    """Reply of POST /predict: one answer per row, in the order of the rows."""
    score = list[float] if contract.task == "multiclass" else float
    answer = create_model(
        "RowAnswer",
        id=(str, Field(description="Name of this answer: send it back with the label to /feedback.")),
        prediction=(_label(contract, float), Field(description="What the score stands for.")),
        score=(
            score,
            Field(description={"binary": "Probability of true.", "multiclass": f"Probabilities of {', '.join(contract.classes)}."}.get(contract.task)),
        ),
        flags=(list[str], Field(description="What training did not see: unseen:<feature> or range:<feature>.")),
    )
    return create_model(
        "PredictResponse",
        model=(str, ...),
        version=(str, Field(description="Version of the model that answered.")),
        release=(str, Field(description="Release that it was live in.")),
        time=(str, Field(description="When the rows were answered, by the server's clock: ISO 8601, UTC.")),
        answers=(list[answer], ...),
    )


def feedback_model(contract: Contract, max_rows: int) -> type[BaseModel]:
    """Body of POST /feedback: the true outcome of answered rows, by their ids."""
    label = create_model(
        "Label",
        __config__=STRICT,
        id=(Annotated[str, Field(pattern=UUID)], ...),
        label=(_label(contract, Number), ...),
        time=(Moment | None, Field(None, description="When the outcome was known, ISO 8601; left out: now.")),
    )
    labels: Any = list[label]
    return create_model("FeedbackRequest", __config__=STRICT, labels=(labels, Field(min_length=1, max_length=max_rows)))


class FeedbackResponse(BaseModel):
    """Reply of POST /feedback."""

    accepted: int = Field(description="Labels that are on disk now; ids that nobody answered are set aside when labels are joined.")


def _label(contract: Contract, number: Any) -> Any:
    if contract.task == "multiclass":
        return Literal[contract.classes]
    return bool if contract.task == "binary" else number
