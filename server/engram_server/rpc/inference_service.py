"""The Open Inference Protocol: a student is a model, its address the model's name, a session of minds a sequence."""
# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from importlib.metadata import version
from itertools import islice
from typing import Final

from engram.inference import open_inference_pb2 as pb
from engram.inference import open_inference_pb2_grpc
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_format.errors import EngramError, ErrorKind, Exhausted, InvalidInput
from engram_server.engine import Archive
from engram_server.rpc.calls import EngineCalls
from engram_server.rpc.in_order import InOrder
from engram_server.rpc.inference_config import config_of, metadata_of
from engram_server.rpc.inference_models import Models, address_of
from engram_server.rpc.inference_parameters import parameters_of
from engram_server.rpc.inference_runs import Runs
from engram_server.rpc.inference_sequences import Sequences
from engram_server.rpc.inference_statistics import Statistics
from engram_server.rpc.status import Context, fault, sentence

EXTENSIONS: Final = (
    "sequence",
    "sequence(string_id)",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "statistics",
)
_UNLOAD_DEPENDENTS: Final = "unload_dependents"
_MAX_LISTED: Final = 100_000
_STREAM_METHOD: Final = "/inference.GRPCInferenceService/ModelStreamInfer"


class InferenceService(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves the students of one archive; at most `sequences` sequences, which rest for at most `idle_s`."""

    def __init__(self, engine: Archive, calls: EngineCalls, *, sequences: int, idle_s: float) -> None:
        self._engine = engine
        self._calls = calls
        self._models = Models(lambda: engine.minds, clock=time.monotonic)
        self._sequences = Sequences(limit=sequences, idle_s=idle_s, clock=time.monotonic)
        self._statistics = Statistics()
        self._runs = Runs(lambda: engine.minds, self._models, self._sequences, self._statistics)

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Say that the service answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Say that calls are taken; a service that stops takes none."""
        return pb.ServerReadyResponse(ready=True)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        """Say what the service is."""
        return pb.ServerMetadataResponse(name="engram", version=version("engram"), extensions=EXTENSIONS)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Say whether a student can be run."""
        try:
            await self._models.find(address_of(request.name, request.version))
        except EngramError as error:
            if error.kind in (ErrorKind.NOT_FOUND, ErrorKind.PRECONDITION, ErrorKind.INVALID):
                return pb.ModelReadyResponse(ready=False)
            raise
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """Return a student's tensors."""
        model = await self._models.find(address_of(request.name, request.version))
        return metadata_of(model, name=request.name)

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """Return how a student is served."""
        model = await self._models.find(address_of(request.name, request.version))
        return pb.ModelConfigResponse(config=config_of(model, name=request.name, idle_s=self._sequences.idle_s))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Run a student once."""
        return await self._runs.run(request)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Run students for each request; an error answers its request, and the stream goes on."""
        in_order = InOrder(
            request_iterator,
            self._answer,
            request_bytes=pb.ModelInferRequest.ByteSize,
            response_bytes=pb.ModelStreamInferResponse.ByteSize,
        )
        async with in_order as answers:
            async for answer in answers:
                yield answer

    async def _answer(self, request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        try:
            response = await self._runs.run(request)
            if parameters_of(request).final_mark:
                response.parameters["triton_final_response"].bool_param = True
            return pb.ModelStreamInferResponse(infer_response=response)
        except EngramError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - a fault of ours answers its request as others do
            failed = fault(error, method=_STREAM_METHOD)
        names = pb.ModelInferResponse(model_name=request.model_name, model_version=request.model_version, id=request.id)
        return pb.ModelStreamInferResponse(error_message=sentence(failed), infer_response=names)

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        """Return what one student did since the service began, or all that did something."""
        if not request.name:
            return pb.ModelStatisticsResponse(model_stats=self._statistics.all())
        model = await self._models.find(address_of(request.name, request.version))
        one = self._statistics.one(model.name, model.version, shown_as=request.name)
        return pb.ModelStatisticsResponse(model_stats=[one])

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        """List the students of the newest versions of all memories, or of one vault's."""
        vault = request.repository_name

        def students() -> list[pb.RepositoryIndexResponse.ModelIndex]:
            scope = Address(vault) if vault else None
            found = self._engine.find([], kind=Kind.STUDENT, scope=scope)
            return [
                pb.RepositoryIndexResponse.ModelIndex(
                    name=str(artifact.address.at(None)), version=str(artifact.address.version), state="READY"
                )
                for artifact in islice(found, _MAX_LISTED + 1)
            ]

        models = await self._calls.run(students)
        if len(models) > _MAX_LISTED:
            raise Exhausted(f"there are more than {_MAX_LISTED} students: name a vault as the repository")
        for model in models:
            if reason := self._models.refused.get(model.name):
                model.state, model.reason = "UNAVAILABLE", reason
        listed = [model for model in models if model.state == "READY" or not request.ready]
        return pb.RepositoryIndexResponse(models=listed)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a student."""
        if request.parameters:
            raise InvalidInput(
                f"the parameter {min(request.parameters)!r:.100} cannot be given: a student is loaded as it was preserved, "
                "deposit another one to change it"
            )
        await self._models.load(address_of(request.model_name, ""))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """End a student's sequences."""
        if unknown := sorted(request.parameters.keys() - {_UNLOAD_DEPENDENTS}):
            raise InvalidInput(f"there is no parameter {unknown[0]!r:.100}: leave it out")
        model = await self._models.find(address_of(request.model_name, ""))
        await self._sequences.end_all(lambda other: other.artifact.sha256 == model.artifact.sha256)
        return pb.RepositoryModelUnloadResponse()
