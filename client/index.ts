// The SDK: connect by a list of seeds, stream from the nearest healthy edge, and keep the stream
// when that edge, its region or the link dies.
export { Fault, type FaultCode } from "../proto/fault.ts";
export type { KnownEndpoint } from "./directory.ts";
export type { Generation } from "./generation.ts";
export {
  type CallSettings,
  type Completion,
  type ConnectOptions,
  connect,
  type MeshClient,
} from "./mesh-client.ts";
