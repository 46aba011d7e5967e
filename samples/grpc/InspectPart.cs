// Software beside a PLC asks the agent for one verdict over gRPC. Not compiled here: there was no .NET.
//
//   dotnet new console -n InspectPart && cd InspectPart
//   dotnet add package Grpc.Net.Client && dotnet add package Google.Protobuf && dotnet add package Grpc.Tools
//   In InspectPart.csproj, with the path to this repository:
//     <ItemGroup><Protobuf Include="PATH/protos/edge_agent/v1/edge_agent.proto" ProtoRoot="PATH/protos" GrpcServices="Client" /></ItemGroup>
//
// Usage: InspectPart PICTURE [http://127.0.0.1:8001]. Exit code 0: OK, 1: NG, 2: NO RESULT or no answer.

using EdgeAgent.V1;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

var target = args.Length > 1 ? args[1] : "http://127.0.0.1:8001";
using var channel = GrpcChannel.ForAddress(target, new GrpcChannelOptions { MaxSendMessageSize = 64 << 20 });
var agent = new Inspection.InspectionClient(channel);
var request = new InspectRequest
{
    Encoded = ByteString.CopyFrom(await File.ReadAllBytesAsync(args[0])),
    Source = "plc",
    FrameName = Path.GetFileName(args[0]),
};

try
{
    var answer = await agent.InspectAsync(request, deadline: DateTime.UtcNow.AddSeconds(2));
    Console.WriteLine($"{answer.Verdict} {answer.FrameId} {answer.Milliseconds:F1} ms {answer.Message}");
    // On any doubt the part is not good: only OK itself is OK.
    return answer.Verdict switch { Verdict.Ok => 0, Verdict.Ng => 1, _ => 2 };
}
catch (RpcException error)
{
    Console.WriteLine($"NO RESULT: {error.StatusCode} {error.Status.Detail}");
    return 2;
}
