"""What the Open Inference Protocol tells of a model: metadata, configuration, statistics."""

from collections.abc import Sequence
from typing import NamedTuple

from edge_agent._proto.inference import grpc_service_pb2 as pb
from edge_agent._proto.inference import model_config_pb2 as config
from edge_agent.formats import Manifest, ModelVersion, TensorSpec
from edge_agent.formats.statistics import BatchCounts, ModelCounts, Spent
from edge_agent.wire.oip.tensors import datatype_to_proto

# As much as one message, or one segment, brings.
_REQUEST_BYTES = 64 << 20
# Triton's words: platform and backend of each runtime.
_PLATFORMS = {
    "onnxruntime": ("onnxruntime_onnx", "onnxruntime"),
    "openvino": ("openvino", "openvino"),
    "tensorrt": ("tensorrt_plan", "tensorrt"),
    "dlr": ("dlr", "dlr"),
}
_CPU_WORDS = ("cpu",)


class Execution(NamedTuple):
    """How a version is executed on this device."""

    provider: str
    lanes: int
    """Inferences at a time."""


def metadata_to_proto(manifest: Manifest, versions: Sequence[str]) -> pb.ModelMetadataResponse:
    """Return what a client builds its requests from; a free dimension is -1."""
    return pb.ModelMetadataResponse(
        name=manifest.model,
        versions=versions,
        platform=_PLATFORMS[manifest.runtime.name][0],
        inputs=[_spec_to_proto(spec) for spec in manifest.inputs],
        outputs=[_spec_to_proto(spec) for spec in manifest.outputs],
    )


def largest_batch(manifest: Manifest) -> int:
    """Return how many elements a request may stack; 0: the model takes no batches of any size.

    No limit is signed, so it is what fits into one request.
    """
    specs = (*manifest.inputs, *manifest.outputs)
    if any(not spec.shape or spec.shape[0] != -1 for spec in specs):
        return 0
    return max(1, _REQUEST_BYTES // max(1, sum(spec.size_bytes() for spec in manifest.inputs)))


def config_to_proto(manifest: Manifest, execution: Execution) -> config.ModelConfig:
    """Return the configuration; where there is a largest batch, its dimension is left out of ``dims``."""
    platform, backend = _PLATFORMS[manifest.runtime.name]
    batch = largest_batch(manifest)
    on_cpu = any(word in execution.provider.lower() for word in _CPU_WORDS)
    group = config.ModelInstanceGroup(
        name=f"{manifest.model}_0",
        kind=config.ModelInstanceGroup.KIND_CPU if on_cpu else config.ModelInstanceGroup.KIND_GPU,
        count=execution.lanes,
    )
    return config.ModelConfig(
        name=manifest.model,
        platform=platform,
        backend=backend,
        version_policy=config.ModelVersionPolicy(latest=config.ModelVersionPolicy.Latest(num_versions=1)),
        max_batch_size=batch,
        input=[
            config.ModelInput(name=printable(spec.name), data_type=_type(spec), dims=_dims(spec, batch))
            for spec in manifest.inputs
        ],
        output=[
            config.ModelOutput(name=printable(spec.name), data_type=_type(spec), dims=_dims(spec, batch))
            for spec in manifest.outputs
        ],
        instance_group=[group],
        default_model_filename=manifest.model_artefact.path,
        parameters={
            "kind": config.ModelParameter(string_value=manifest.kind.value),
            "version": config.ModelParameter(string_value=manifest.version),
            "provider": config.ModelParameter(string_value=execution.provider),
        },
    )


def statistics_to_proto(model: ModelVersion, counts: ModelCounts) -> pb.ModelStatistics:
    """Return what was counted."""
    return pb.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=counts.last_ms,
        inference_count=counts.inferences,
        execution_count=counts.executions,
        inference_stats=pb.InferStatistics(
            success=_spent_to_proto(counts.success),
            fail=_spent_to_proto(counts.failure),
            queue=_spent_to_proto(counts.queue),
            compute_input=_spent_to_proto(counts.total.input),
            compute_infer=_spent_to_proto(counts.total.compute),
            compute_output=_spent_to_proto(counts.total.output),
            cache_hit=pb.StatisticDuration(),
            cache_miss=pb.StatisticDuration(),
        ),
        batch_stats=[_batch_to_proto(size, batch) for size, batch in sorted(counts.batches.items())],
    )


def printable(name: str) -> str:
    """Return a name that protobuf accepts, whatever a model's file contains."""
    return name.encode("utf-8", "replace").decode()


def _spec_to_proto(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=printable(spec.name), datatype=datatype_to_proto(spec.dtype), shape=spec.shape
    )


def _type(spec: TensorSpec) -> config.DataType:
    value: config.DataType = config.DataType.Value(f"TYPE_{datatype_to_proto(spec.dtype)}")
    return value


def _dims(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    return spec.shape[1:] if batch else spec.shape


def _batch_to_proto(size: int, batch: BatchCounts) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=size,
        compute_input=_spent_to_proto(batch.input),
        compute_infer=_spent_to_proto(batch.compute),
        compute_output=_spent_to_proto(batch.output),
    )


def _spent_to_proto(spent: Spent) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=spent.number, ns=spent.nanoseconds)
