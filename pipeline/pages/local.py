"""A local page: a protected FastAPI app, and a server that opens the browser."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import jinja2
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from pipeline import __version__
from pipeline.core.errors import PipelineError, Rejected
from pipeline.pages.request_guard import MAX_BODY, Guard

HERE = Path(__file__).parent
HOST = "127.0.0.1"  # this machine only


class LocalPage:
    """A FastAPI app behind the request guard: add routes to `app`, serve `asgi`.

    `folder` holds the page's own `templates/` and `static/`. The guard expects `token` with each
    request; None makes a random one. `render` passes the token to the templates, which extend
    `base.html`. Static files are at `/static/base` (shared) and `/static/page`. Errors are JSON:
    `{"error": "one line"}`.
    """

    def __init__(
        self, title: str, folder: Path, max_body: int = MAX_BODY, token: str | None = None
    ) -> None:
        self.title, self.token = title, token or secrets.token_urlsafe(32)
        # FastAPI's documentation pages load scripts from other hosts; /openapi.json does not
        self.app = FastAPI(title=title, version=__version__, docs_url=None, redoc_url=None)
        self.asgi: ASGIApp = Guard(self.app, self.token, max_body)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader([folder / "templates", HERE / "templates"]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.app.mount("/static/base", StaticFiles(directory=HERE / "static"))
        self.app.mount("/static/page", StaticFiles(directory=folder / "static"))
        for kind, status in ((Rejected, 422), (PipelineError, 400), (HTTPException, None)):
            self.app.add_exception_handler(kind, error_handler(status))
        self.app.add_exception_handler(RequestValidationError, invalid_request)

    def render(self, template: str, **values: Any) -> HTMLResponse:
        """Return a page from a template."""
        found = self._templates.get_template(template)
        return HTMLResponse(found.render(title=self.title, token=self.token, **values))


def error_handler(status: int | None) -> Callable[[Request, Exception], JSONResponse]:
    """Return a handler that answers with the exception's message.

    If `status` is None, the exception carries its own status.
    """

    def handle(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):
            return JSONResponse({"error": error.detail}, status or error.status_code)
        return JSONResponse({"error": str(error)}, status or 500)

    return handle


def invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Return a one-line answer that names the wrong value's field but does not repeat the value."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"])
    return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)


def serve(page: LocalPage, port: int, *, host: str = HOST, is_shown: bool = True) -> None:
    """Serve a page until Ctrl-C; open it in the browser if `is_shown`.

    Port 0 takes a free port. Raises PipelineError if the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            message = f"{host}:{port}: {error.strerror}; run with --port 0 to take a free port"
            raise PipelineError(message) from error
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}/"

        def ready() -> None:
            click.echo(f"{page.title}: {url}   (press Ctrl-C to stop)")
            if is_shown:
                webbrowser.open(url)

        config = uvicorn.Config(page.asgi, log_level="warning", lifespan="off", server_header=False)
        with suppress(KeyboardInterrupt):  # uvicorn shuts down on Ctrl-C, then raises it again
            _Server(config, ready).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that calls a function when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
