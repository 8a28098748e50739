"""A server that speaks the OpenAI API: chat completions, models, files and batches. For tests, benchmarks and trials.

It answers with the function that it is given, as late as a real server would, bills tokens, and makes the mistakes it
is told to make (`vidreason.llm.testing.chat_faults`). In a test:

    with ChatServer(lambda payload: "yes", faults=Faults(server_error=0.1), latency_s=0.05) as server:
        client = openai.OpenAI(base_url=server.url, api_key="any")

and as a process of its own (`--help` lists all options), here with one answer to everything:

    python -m vidreason.llm.testing.chat_server --constant '{"key_r": [[1, 1]]}' --port 8000 --latency_s 0.2

`vidreason.synthetic.chat_server` is the same server with the truth of a synthetic world for its answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from aiohttp import web

from ...command_line import OneLineParser, end_with_status
from ...errors import ConfigError
from .chat_batches import BatchLimits, BatchService
from .chat_faults import BatchFaults, Faults, spoil
from .chat_wire import (
    Received,
    RequestError,
    abort,
    completion_body,
    count_prompt_tokens,
    cut_at_limit,
    error_of,
    hash_of,
    parse_body,
)

Answer = Callable[[dict[str, Any]], str]
"""Gives the text of an answer to the body of a chat completion."""

_MAX_BODY_BYTES = 64 * 2**20  # pictures come as base64 within the body
_START_TIMEOUT_S = 10.0


class ChatServer:
    """The server, in a thread of its own while it is used as a context.

    Args:
        answer: Function that is given the body of a chat completion and returns the text of the answer. It runs in the
            server's loop and holds up every other request while it does. A ValueError of it is an answer with status
            400.
        faults: What goes wrong with single requests, and with what the model says.
        batch_faults: What goes wrong with batch jobs and their lines.
        latency_s: Seconds from the arrival of a request to its answer.
        batch_latency_s: Seconds from the creation of a batch job to its end.
        batch_limits: Limits of files and jobs.
        api_key: Key that `Authorization: Bearer` must hold; None lets everyone in.
        models: Names of the models that there are; None takes any name.
        unsupported: Fields of the body that are an error here, as they are with servers that know less of the API.
        host: Address to listen on.
        port: Port to listen on; 0 takes one that is free.
    """

    def __init__(
        self,
        answer: Answer,
        faults: Faults | None = None,
        batch_faults: BatchFaults | None = None,
        latency_s: float = 0.0,
        batch_latency_s: float = 0.0,
        batch_limits: BatchLimits | None = None,
        api_key: str | None = None,
        models: Collection[str] | None = None,
        unsupported: Collection[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ):
        self.answer, self.faults, self.latency_s = answer, faults or Faults(), latency_s
        self.api_key, self.models, self.unsupported = api_key, models, frozenset(unsupported)
        self.host, self.port = host, port
        self.log: list[Received] = []
        self.max_concurrent = 0
        self.batches = BatchService(
            self._batch_line, batch_faults or BatchFaults(), batch_limits or BatchLimits(), batch_latency_s
        )
        self._concurrent = 0
        self._attempts: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """What a client calls `base_url`. The port is known once the server has started."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def outcomes(self) -> Counter[str]:
        """How many requests ended in which way, lines of batches included."""
        return Counter(entry.outcome for entry in self.log)

    @property
    def billed_tokens(self) -> tuple[int, int]:
        """Prompt tokens and completion tokens of everything that was answered, whether or not anyone listened."""
        log = list(self.log)
        return sum(entry.prompt_tokens for entry in log), sum(entry.completion_tokens for entry in log)

    def stats(self) -> dict[str, Any]:
        """What `GET /stats` gives."""
        prompt_tokens, completion_tokens = self.billed_tokens
        return {
            "requests": len(self.log),
            "different_requests": len(self._attempts),
            "max_concurrent": self.max_concurrent,
            "outcomes": dict(self.outcomes),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "batches": len(self.batches.jobs),
        }

    # life

    def __enter__(self) -> ChatServer:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, in a thread of its own. Raises OSError where the port is taken."""
        started: list[BaseException | None] = []
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started, ready), daemon=True, name="chat-server")
        self._thread.start()
        if not ready.wait(_START_TIMEOUT_S):
            raise TimeoutError(f"the server did not start within {_START_TIMEOUT_S:g} s")
        if started[0] is not None:
            raise started[0]

    def _run(self, started: list[BaseException | None], ready: threading.Event) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(self.listen())
        except BaseException as error:  # handed to the thread that waits
            self._loop.run_until_complete(self.close())
            self._loop.close()
            started.append(error)
            ready.set()
            return
        started.append(None)
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.close())  # in the loop that the sockets belong to
        self._loop.close()

    def stop(self) -> None:
        """Break off all connections and end the thread."""
        if self._thread is not None and self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._thread = None

    async def listen(self) -> None:
        """Start to listen in the running loop."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[self._guard])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/stats", self._stats)
        app.add_routes(self.batches.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """End what `listen` began."""
        await self.batches.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # requests

    @web.middleware
    async def _guard(self, request: web.Request, handler) -> web.StreamResponse:
        """Keys are checked, and errors take the form of the API."""
        try:
            if self.api_key is not None and request.path != "/stats":
                self._check_key(request.headers.get("Authorization", ""))
            return await handler(request)
        except RequestError as error:
            return error.response()
        except web.HTTPException as error:
            return RequestError(error.status, error.reason).response()

    def _check_key(self, authorization: str) -> None:
        given = authorization.removeprefix("Bearer ").strip()
        if given != self.api_key:
            # it names the key, as OpenAI's server does in part, so that clients show whether they leak it
            raise RequestError(401, f"Incorrect API key provided: {given}.", "invalid_api_key")

    async def _list_models(self, request: web.Request) -> web.Response:
        names = sorted(self.models or ["gpt-4.1-mini"])
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "vidreason"} for name in names]
        return web.json_response({"object": "list", "data": models})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(self.stats())

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        arrival_s = time.monotonic()
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        try:
            payload = parse_body(await request.read())
            payload_hash, attempt = self._count(payload)
            fault = self.faults.of_request(payload_hash, attempt)
            entry = Received(payload_hash, attempt, arrival_s, "online")
            # the work is done within the latency, so that requests that come together do not wait for one another
            response = self._respond(payload, fault, entry)
            delay_s = self.latency_s + (self.faults.slow_s if fault == "slow" else 0.0)
            await self._wait(max(0.0, arrival_s + delay_s - time.monotonic()))
        finally:
            self._concurrent -= 1
        if fault == "dropped":
            abort(request)
        return response

    async def _wait(self, delay_s: float) -> None:
        """Let the rest of a request's latency go by. Tests of concurrency wait for something else here."""
        await asyncio.sleep(delay_s)

    def _respond(self, payload: dict[str, Any], fault: str | None, entry: Received) -> web.Response:
        """The response to a request; for one whose connection is dropped, nothing that matters."""
        error = error_of(fault, self.faults)
        if error is None and fault not in ("dropped", "malformed_body"):
            try:
                return web.json_response(self._complete(payload, fault, entry))
            except RequestError as refused:
                return refused.response()
        self.log.append(replace(entry, outcome=fault or "ok"))
        if error is not None:
            return error.response()
        return web.Response(text='{"id": "chatcmpl-', content_type="application/json")

    def _batch_line(self, payload: Any) -> tuple[str, int, Callable[[], dict[str, Any]]]:
        """What a batch needs of a line's body: its hash, the number of the attempt, and what gives the completion."""
        if not isinstance(payload, dict):
            raise RequestError(400, "the body must be an object")
        payload_hash, attempt = self._count(payload)
        fault = self.faults.of_content(payload_hash, attempt)
        entry = Received(payload_hash, attempt, time.monotonic(), "batch")
        return payload_hash, attempt, lambda: self._complete(payload, fault, entry)

    def _count(self, payload: dict[str, Any]) -> tuple[str, int]:
        payload_hash = hash_of(payload)
        self._attempts[payload_hash] += 1
        return payload_hash, self._attempts[payload_hash]

    def _complete(self, payload: dict[str, Any], fault: str | None, entry: Received) -> dict[str, Any]:
        """The body of a completion, billed and logged."""
        try:
            self._check_payload(payload)
            prompt_tokens = count_prompt_tokens(payload)
            completion = spoil(self.answer(payload), fault)
        except RequestError as error:
            self.log.append(replace(entry, outcome=str(error.status)))
            raise
        except ValueError as error:
            self.log.append(replace(entry, outcome="400"))
            raise RequestError(400, str(error)) from error
        completion, completion_tokens = cut_at_limit(completion, payload)
        received = replace(
            entry, outcome=fault or "ok", prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
        )
        self.log.append(received)
        return completion_body(f"chatcmpl-{len(self.log)}", str(payload["model"]), completion, received)

    def _check_payload(self, payload: dict[str, Any]) -> None:
        if not isinstance(payload.get("model"), str):
            raise RequestError(400, "you must provide a model parameter")
        if self.models is not None and payload["model"] not in self.models:
            raise RequestError(404, f"The model `{payload['model']}` does not exist", "model_not_found")
        refused = sorted(self.unsupported & payload.keys())
        if refused:
            raise RequestError(400, f"Unsupported parameter: '{refused[0]}'", "unsupported_parameter")


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a server that do not say what it answers."""
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    parser.add_argument("--port", type=int, default=8000, help="Port to listen on; 0 takes one that is free.")
    parser.add_argument("--latency_s", type=float, default=0.0, help="Seconds until an answer.")
    parser.add_argument("--batch_latency_s", type=float, default=5.0, help="Seconds until a batch job is over.")
    parser.add_argument("--faults", type=json.loads, default={}, help='JSON, such as {"server_error": 0.05}.')
    parser.add_argument("--batch_faults", type=json.loads, default={}, help='JSON, such as {"missing_lines": 0.05}.')
    parser.add_argument("--api_key_env", help="Environment variable with the key that clients must send.")


def run_server(args: argparse.Namespace, make_answer: Callable[[], Answer]) -> int:
    """Serve until interrupted, and print the address once the server listens.

    Args:
        args: Values of the flags of `add_server_flags`.
        make_answer: Function that gives the `answer` of the server.

    Returns:
        The code that the process should exit with.

    Raises:
        VidreasonError: A flag's value, or what the answers come from, cannot be used.
    """
    try:
        server = ChatServer(
            make_answer(),
            faults=Faults(**args.faults),
            batch_faults=BatchFaults(**args.batch_faults),
            latency_s=args.latency_s,
            batch_latency_s=args.batch_latency_s,
            api_key=os.environ[args.api_key_env] if args.api_key_env else None,
            host=args.host,
            port=args.port,
        )
        asyncio.run(_serve(server))
    except (OSError, TypeError, ValueError, KeyError) as error:  # faults by wrong names, a port that is taken, no key
        raise ConfigError(str(error)) from error
    except KeyboardInterrupt:  # the way to stop a server
        return 0
    return 0


async def _serve(server: ChatServer) -> None:
    await server.listen()
    print(f"serving {server.url}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await server.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: a server that gives one answer to everything."""
    parser = OneLineParser(
        prog="vidreason.llm.testing.chat_server",
        description="A chat-completions server with one answer to everything.",
    )
    parser.add_argument("--constant", required=True, help="Text of every answer (for benchmarks of clients).")
    add_server_flags(parser)

    def work() -> int:
        args = parser.parse_args(arguments)
        return run_server(args, lambda: lambda payload: args.constant)

    return end_with_status(work)


if __name__ == "__main__":
    sys.exit(main())
