"""Answers to HTTP requests: a result, or an error with its words and the status that says whose it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serve_deployments.endpoint import Payload, first_line
from serve_deployments.replicas.http.bodies import JSON, payload_of
from serve_deployments.replicas.http.openai_events import MEDIA_TYPE, events, from_first, wants_events
from serve_deployments.replicas.http.payload_type import BadPayload, PayloadType
from serve_deployments.replicas.http.results import NoForm, body_of, to_json


async def answer(
    request: Request,
    expected: PayloadType,
    infer: Callable[[Payload], Awaitable[Any]],
    unavailable: type[Exception],
    stream: Callable[[Payload], AsyncIterator[Any]] | None = None,
) -> Response:
    """Answer one HTTP request.

    A body that is no payload of this service is answered with 400, another method than POST with 405, an error of the
    model with 500, and a request that cannot be taken now with 503; each with `{"error": words}`.

    Args:
        request: the request.
        expected: the type of the service's payloads.
        infer: the model: payload → result.
        unavailable: exception of `infer` and `stream` that means that it takes no request now.
        stream: the model: payload → parts of the result, for requests that ask for a stream; None: it has none.
    """
    if request.method != "POST":
        return _refused(405, "send the payload as the body of a POST request", {"Allow": "POST"})
    headers = request.headers
    if (coding := headers.get("content-encoding", "").strip().lower()) not in ("", "identity"):
        return _refused(400, f"the body must be the payload: it is compressed ({coding}); send it as it is")
    try:
        payload = payload_of(await request.body(), headers.get("content-type", ""), expected)
    except BadPayload as error:
        return _refused(400, f"the body must be the payload: {error}")
    try:
        if stream is not None and wants_events(payload):
            parts = await from_first(stream(payload))
            return StreamingResponse(events(payload, parts), media_type=MEDIA_TYPE)
        body, media = body_of(await infer(payload), headers.get("accept", ""))
    except unavailable as error:
        return _refused(503, first_line(error))
    except NoForm as error:
        return _refused(500, str(error))
    except Exception as error:
        return _refused(500, first_line(error))
    return Response(body, media_type=media)


def _refused(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json({"error": why}), status, headers, JSON)
