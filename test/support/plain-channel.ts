// A connection as any caller has it: with gRPC's own settings, not those of the mesh, which leave a
// peer that is silent for 2.5 s and never ask again for a stream that was refused.
import { Client, credentials } from "@grpc/grpc-js";

export function plainChannel(address: string): Client {
  return new Client(address, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
}
