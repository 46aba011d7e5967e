// Software beside a PLC asks the agent for one verdict over gRPC. Not compiled here: gRPC's C++ headers were not there.
//
//   apt install g++ protobuf-compiler protobuf-compiler-grpc libgrpc++-dev pkg-config
//   protoc -I ../../protos --cpp_out=. --grpc_out=. --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" \
//       edge_agent/v1/edge_agent.proto
//   g++ -std=c++17 -I. inspect_part.cpp edge_agent/v1/*.cc $(pkg-config --cflags --libs grpc++ protobuf) -o inspect_part
//
// Usage: inspect_part PICTURE [127.0.0.1:8001]. Exit code 0: OK, 1: NG, 2: NO RESULT or no answer.

#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include <grpcpp/grpcpp.h>

#include "edge_agent/v1/edge_agent.grpc.pb.h"

namespace v1 = edge_agent::v1;

int main(int count, char** words) {
  if (count < 2) {
    std::cerr << "usage: inspect_part PICTURE [HOST:PORT]\n";
    return 2;
  }
  std::ifstream file(words[1], std::ios::binary);
  const std::string picture{std::istreambuf_iterator<char>(file), {}};

  v1::InspectRequest request;
  request.set_encoded(picture);
  request.set_source("plc");
  request.set_frame_name(words[1]);

  const auto channel = grpc::CreateChannel(count > 2 ? words[2] : "127.0.0.1:8001", grpc::InsecureChannelCredentials());
  const auto agent = v1::Inspection::NewStub(channel);
  grpc::ClientContext call;
  call.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(2));
  v1::InspectResponse answer;
  const grpc::Status status = agent->Inspect(&call, request, &answer);
  if (!status.ok()) {
    std::cout << "NO RESULT: " << status.error_code() << " " << status.error_message() << "\n";
    return 2;
  }
  std::cout << v1::Verdict_Name(answer.verdict()) << " " << answer.frame_id() << " " << answer.milliseconds() << " ms "
            << answer.message() << "\n";
  // On any doubt the part is not good: only OK itself is OK.
  return answer.verdict() == v1::OK ? 0 : answer.verdict() == v1::NG ? 1 : 2;
}
