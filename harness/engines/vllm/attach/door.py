"""Who is let in: whoever has the token, with a small body that says nothing but what is asked for."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import HTTPException, Request, Response
from pydantic import BaseModel, ValidationError

LARGEST = 1 << 20
"""Bytes of a body."""


class Door:
    """What stands before every route. Nothing of a request is read before its ``token`` is found to be the right one."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def admits(self, authorization: str) -> bool:
        """Whether a header has the token. Its comparison takes as long for a wrong one as for the right one."""
        scheme, _, given = authorization.partition(" ")
        same = secrets.compare_digest(given.encode(), self._token)
        return same and scheme.lower() == "bearer"

    def to(
        self, answer: Callable[..., Awaitable[Response]], body: type[BaseModel] | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """The route to ``answer``, which is given what a request says, where it has a ``body``.

        Raises:
            HTTPException: 401 without the token, 413 for a body that is too large, 422 for one that says anything else.
        """

        async def through(request: Request) -> Response:
            if not self.admits(request.headers.get("Authorization", "")):
                raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
            if body is None:
                return await answer()
            return await answer(_asked(body, await _read(request)))

        return through


async def _read(request: Request) -> bytes:
    found = bytearray()
    async for piece in request.stream():
        found += piece
        if len(found) > LARGEST:
            raise HTTPException(413, f"a body has at most {LARGEST} bytes")
    return bytes(found)


def _asked(body: type[BaseModel], said: bytes) -> Any:
    try:
        return body.model_validate_json(said)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in found[:3])
        raise HTTPException(422, wrong) from None
