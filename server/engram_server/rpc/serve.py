"""The service's life: bind, answer, and on a signal let calls in progress finish before the archive is closed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from engram.inference import open_inference_pb2, open_inference_pb2_grpc
from engram.v1 import (
    archive_pb2,
    archive_pb2_grpc,
    recording_pb2,
    recording_pb2_grpc,
    replay_pb2,
    replay_pb2_grpc,
)
from engram_format.errors import Precondition
from engram_server.config import ServeConfig
from engram_server.engine import Archive
from engram_server.rpc.archive_service import ArchiveService
from engram_server.rpc.auth import BearerToken, read_token
from engram_server.rpc.calls import EngineCalls
from engram_server.rpc.inference_service import InferenceService
from engram_server.rpc.recording_service import RecordingService
from engram_server.rpc.replay_service import ReplayService
from engram_server.rpc.status import Edge

log = logging.getLogger(__name__)

MAX_MESSAGE: Final = 64 << 20
"""Bytes of one message: a tick of many minds comes in one, and a tensor of the Open Inference Protocol."""
_WINDOW: Final = 4 << 20
"""Bytes of a stream that may be on the way to us while nobody takes them."""

_SPARE_CALLS: Final = 64
"""Calls beyond the bounds that are still told why they are refused; others are refused before their request is read."""

_FLUSH_S: Final = 1.0

SERVICES: Final = (
    archive_pb2.DESCRIPTOR.services_by_name["ArchiveService"].full_name,
    recording_pb2.DESCRIPTOR.services_by_name["RecordingService"].full_name,
    replay_pb2.DESCRIPTOR.services_by_name["ReplayService"].full_name,
    open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
)


_LAST_RESORT_S: Final = 10.0
"""After the grace period and this, the process ends whatever still runs."""


def serve(config: ServeConfig, archive: Archive, *, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT, then close the archive; `ready` is told the port once calls are answered.

    Runs in the main thread, which alone receives signals. On a signal the health service says NOT_SERVING, no call is
    accepted any more, and calls in progress have `config.grace_s` to finish. Raises `Precondition` if the address is taken
    or a file of the configuration cannot be used.
    """

    async def until_signalled() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with running(config, archive) as port:
            ready(port)
            await stop.wait()
            # What is not committed by then goes on in the next process.
            last_resort = threading.Timer(config.grace_s + _LAST_RESORT_S, os._exit, (1,))
            last_resort.daemon = True
            last_resort.start()

    asyncio.run(until_signalled())


@contextmanager
def serving(config: ServeConfig, archive: Archive) -> Iterator[int]:
    """Serve on a thread while the block runs, and tell it the port; afterwards stop as `serve` does."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def until_told() -> None:
        stop = asyncio.Event()
        async with running(config, archive) as port:
            started.set_result((asyncio.get_running_loop(), stop, port))
            await stop.wait()

    def thread() -> None:
        try:
            asyncio.run(until_told())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    worker = threading.Thread(target=thread, name="engram-service")
    worker.start()
    try:
        loop, stop, port = started.result()
        try:
            yield port
        finally:
            loop.call_soon_threadsafe(stop.set)
    finally:
        worker.join()


@asynccontextmanager
async def running(config: ServeConfig, archive: Archive) -> AsyncIterator[int]:
    """Serve while the block runs, and tell it the port; afterwards drain, and close the archive in every case."""
    # Minds advance on the loop that answers: a step is a message to a child process, and no thread waits for it.
    archive.minds.bind(asyncio.get_running_loop(), config.students)
    calls = EngineCalls(threads=config.workers)
    edge = Edge(calls=config.calls, streams=config.streams)
    try:
        server, checks, port = await _started(config, archive, calls, edge)
        log.info("serving %s on %s, port %d", archive.url, config.host, port)
        try:
            yield port
        finally:
            await checks.enter_graceful_shutdown()
            await _drain(server, edge, archive, grace_s=config.grace_s)
    finally:
        await asyncio.to_thread(calls.close)
        await asyncio.to_thread(archive.close)


async def _started(
    config: ServeConfig, archive: Archive, calls: EngineCalls, edge: Edge
) -> tuple[grpc.aio.Server, health.aio.HealthServicer, int]:
    """Build the server, bind it and start it."""
    guards: list[grpc.aio.ServerInterceptor] = [edge]
    if config.token_file is not None:
        guards.insert(0, BearerToken(read_token(config.token_file)))
    server = grpc.aio.server(
        interceptors=guards,
        options=_options(config),
        maximum_concurrent_rpcs=config.calls + config.streams + _SPARE_CALLS,
    )
    archive_pb2_grpc.add_ArchiveServiceServicer_to_server(ArchiveService(archive, calls), server)
    recording_pb2_grpc.add_RecordingServiceServicer_to_server(RecordingService(archive, calls), server)
    replay_pb2_grpc.add_ReplayServiceServicer_to_server(
        ReplayService(
            archive,
            calls,
            inline_bytes=config.inline_bytes,
            message_bytes=MAX_MESSAGE,
            idle_s=config.minds_idle_s,
        ),
        server,
    )
    open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        InferenceService(archive, calls, sequences=config.sequences, idle_s=config.minds_idle_s), server
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    port = _bind(server, config)
    await server.start()
    for service in SERVICES:
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    return server, checks, port


def _options(config: ServeConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.max_send_message_length", MAX_MESSAGE),
        # A window that does not grow with the delays of a busy machine: what a slow deposit makes us hold is bounded.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW),
        ("grpc.max_concurrent_streams", config.calls + config.streams),
        # A second service on the same port is an error and not a lottery.
        ("grpc.so_reuseport", 0),
        # A client that vanished without a word is noticed within 80 s, and its session becomes free.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients ask whether we live every 30 s; by default that often would count as an attack.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 15_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _bind(server: grpc.aio.Server, config: ServeConfig) -> int:
    """Return the port; raises `Precondition` if the address cannot be bound or the TLS files cannot be used."""
    credentials = _credentials(config)
    try:
        if credentials is None:
            return server.add_insecure_port(config.target)
        return server.add_secure_port(config.target, credentials)
    except RuntimeError as error:
        raise Precondition(
            f"the service cannot listen on {config.target}: choose a free port and an address of this machine, "
            "and check the TLS files if there are any"
        ) from error


def _credentials(config: ServeConfig) -> grpc.ServerCredentials | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    try:
        return grpc.ssl_server_credentials([(config.tls_key.read_bytes(), config.tls_cert.read_bytes())])
    except OSError as error:
        raise Precondition(
            f"the TLS files {config.tls_cert} and {config.tls_key} cannot be read: make them readable to the service"
        ) from error


async def _drain(server: grpc.aio.Server, edge: Edge, archive: Archive, *, grace_s: float) -> None:
    """Accept no more calls, wait for those in progress, and cancel after the grace period those that are left."""
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(server.stop(grace_s))
        try:
            async with asyncio.timeout(grace_s):
                await edge.idle()
        except TimeoutError:
            log.warning("calls still in progress after %s s are cancelled", grace_s)
        # A thread of the engine that waits for a student cannot be cancelled, and a network may run for hours.
        await archive.minds.end()
        # Time for the last answers to leave. Watchers of the health service never leave, and are not worth waiting for.
        await asyncio.wait([stopping], timeout=_FLUSH_S)
        group.create_task(server.stop(None))
    # A cancelled call is over for its client; the engine is let go of only when its cleaning up is done too.
    await edge.idle()
