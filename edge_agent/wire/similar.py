"""Parts that look alike, and how live parts lie to a memory bank. An empty word stands for none."""

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.formats import BankStatus, SimilarPart, SimilarParts


def similar_to_proto(similar: SimilarParts) -> pb.SimilarPartsResponse:
    """Return the message."""
    parts = [pb.SimilarPart(**part.model_dump(), thumbnail=part.thumbnail) for part in similar.parts]
    return pb.SimilarPartsResponse(**similar.model_dump(exclude={"parts"}), parts=parts)


def similar_from_proto(message: pb.SimilarPartsResponse) -> SimilarParts:
    """Return the document."""
    return SimilarParts(
        model=message.model,
        version=message.version,
        distance=message.distance,
        limit=message.limit,
        far=message.far,
        message=message.message,
        parts=tuple(_part_from_proto(part) for part in message.parts),
    )


def _part_from_proto(part: pb.SimilarPart) -> SimilarPart:
    return SimilarPart(
        similarity=part.similarity,
        captured=part.captured,
        id=part.id,
        label=part.label,
        verdict=part.verdict,
        at=part.at,
        thumbnail=part.thumbnail,
    )


def bank_from_proto(message: pb.BankStatus) -> BankStatus:
    """Return the document."""
    return BankStatus(
        state=message.state,
        message=message.message,
        parts=message.parts,
        seen=message.seen,
        needed=message.needed,
        distance=message.distance,
        limit=message.limit,
        far_share=message.far_share,
        drift=message.drift,
    )
