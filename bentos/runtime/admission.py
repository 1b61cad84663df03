"""What is held against a request before its body is read: its method, its headers, its key."""

import hmac
from collections.abc import Iterable, MutableMapping
from http import HTTPStatus
from typing import Any

from bentos.runtime.body import CLOSE, too_large
from bentos.runtime.errors import Field, Header, Refused

Scope = MutableMapping[str, Any]
Headers = dict[bytes, bytes]

JSON_SIZE = b"inference-header-content-length"  # of a v2 body whose tensors follow its JSON as bytes
PREDICT_KINDS = frozenset({b"application/json"})
V2_KINDS = PREDICT_KINDS | {b"application/octet-stream", b""}  # tritonclient names none
READ = frozenset({b"authorization", b"content-type", b"content-encoding", JSON_SIZE})  # headers that decide what happens to a request


def gets(scope: Scope) -> None:
    """Refuse what is not GET."""
    if scope["method"] not in {"GET", "HEAD"}:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method", "This path takes GET.", headers=((b"allow", b"GET, HEAD"),))


def posts(scope: Scope, headers: Headers) -> None:
    """Refuse what is not POST, or is ambiguous."""
    if scope["method"] != "POST":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method", "This path takes POST.", headers=((b"allow", b"POST"),))
    if len(headers) != len(scope["headers"]):
        _check_once(scope["headers"])


def allow(headers: Headers, action: str, key: str) -> None:
    """Refuse what does not bring the key of an action. The scheme may be in any case, as in RFC 9110."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(given.lstrip(b" "), key.encode()):
        message = f"This path needs the {action} key: Authorization: Bearer <key>."
        raise Refused(HTTPStatus.UNAUTHORIZED, "key", message, headers=((b"www-authenticate", b"Bearer"), CLOSE))


def takes(headers: Headers, kinds: frozenset[bytes], most: int) -> None:
    """Refuse a body of another kind, one that is compressed, or says that it has more than `most` bytes."""
    kind, encoding = headers.get(b"content-type", b""), headers.get(b"content-encoding", b"identity").lower()
    if kind.partition(b";")[0].rstrip().lower() not in kinds or encoding != b"identity":
        message = "The Content-Type must be application/json, and the body without a Content-Encoding."
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content_type", message, headers=(CLOSE,))
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 18 or int(length) > most:
        raise too_large(most)


def _check_once(headers: Iterable[Header]) -> None:
    """Refuse a header that decides and is there twice: a proxy before this server may have read the other one."""
    named = [name for name, _ in headers]
    twice = sorted(name.decode() for name in READ if named.count(name) > 1)
    if twice:
        fields = [Field(path=name, message="The header is there more than once.") for name in twice]
        raise Refused(HTTPStatus.BAD_REQUEST, "header", "The request is ambiguous.", fields, headers=(CLOSE,))
